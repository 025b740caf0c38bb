import { invalidArgument } from "./errors.ts";

/**
 * Kubernetes resource quantities ("250m", "64Mi", "1e3"), exact: a quantity is `digits` × 10^`scale` with integers, or a
 * power of two of it. https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
 */
const BINARY: Record<string, bigint> = {
  Ki: 1n << 10n,
  Mi: 1n << 20n,
  Gi: 1n << 30n,
  Ti: 1n << 40n,
  Pi: 1n << 50n,
  Ei: 1n << 60n,
};
const DECIMAL: Record<string, number> = { n: -9, u: -6, m: -3, "": 0, k: 3, M: 6, G: 9, T: 12, P: 15, E: 18 };
const PATTERN = /^([+-]?)(\d+(?:\.\d*)?|\.\d+)(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]|[eE][+-]?\d{1,4})?$/;

const NANO = 1_000_000_000n;

/** The quantity in billionths, rounded up, as upstream rounds what is finer than a nano. Throws invalidArgument. */
export function parseQuantityNano(text: string): bigint {
  const match = PATTERN.exec(text);
  if (!match) {
    throw invalidArgument(
      `quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'`,
      {
        details: { value: text },
      },
    );
  }
  const [, sign, number = "", suffix = ""] = match;
  const [whole = "", fraction = ""] = number.split(".");
  let numerator = BigInt(whole + fraction || "0") * NANO;
  let denominator = 10n ** BigInt(fraction.length);
  const binary = BINARY[suffix];
  if (binary) numerator *= binary;
  else {
    const exponent = DECIMAL[suffix] ?? Number(suffix.slice(1));
    if (exponent >= 0) numerator *= 10n ** BigInt(Math.min(exponent, 64));
    else denominator *= 10n ** BigInt(Math.min(-exponent, 64));
  }
  const rounded = (numerator + denominator - 1n) / denominator;
  return sign === "-" ? -rounded : rounded;
}

/** Whole units, rounded up: bytes, counts. */
export function parseQuantity(text: string | number): number {
  return Number(ceilDiv(parseQuantityNano(String(text)), NANO));
}

/** Thousandths, rounded up: CPU. */
export function parseMilli(text: string | number): number {
  return Number(ceilDiv(parseQuantityNano(String(text)), 1_000_000n));
}

export function formatMilli(milli: number): string {
  return milli % 1000 === 0 ? String(milli / 1000) : `${milli}m`;
}

/** Bytes in the largest binary unit that divides them. */
export function formatBinaryQuantity(bytes: number): string {
  let value = BigInt(Math.round(bytes));
  let unit = "";
  for (const [suffix, factor] of Object.entries(BINARY)) {
    if (value === 0n || BigInt(Math.round(bytes)) % factor !== 0n) break;
    value = BigInt(Math.round(bytes)) / factor;
    unit = suffix;
  }
  return `${value}${unit}`;
}

function ceilDiv(value: bigint, by: bigint): bigint {
  return value >= 0n ? (value + by - 1n) / by : -(-value / by);
}
