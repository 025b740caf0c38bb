import { Duration, UnsignedInt } from "@marcbachmann/cel-js/evaluator";
import type { Environment } from "@marcbachmann/cel-js";

import { spend } from "../budget.ts";
import { TRAVERSAL } from "../sizes.ts";

const escapes: Readonly<Record<string, string>> = {
  "\\": "\\\\",
  '"': '\\"',
  "\u0007": "\\a",
  "\b": "\\b",
  "\f": "\\f",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
  "\v": "\\v",
};

/** As a literal. */
export const quote = (text: string): string =>
  // oxlint-disable-next-line no-control-regex -- these are what is escaped
  `"${text.replaceAll(/[\\"\u0007\b\f\n\r\t\v]/g, (found) => escapes[found]!)}"`;

function replace(text: string, from: string, to: string, count = -1n): string {
  spend(Math.ceil(text.length * 2 * TRAVERSAL));
  if (count < 0n) return text.replaceAll(from, () => to);
  let left = count;
  return text.replaceAll(from, (found) => (left-- > 0n ? to : found));
}

function charAt(text: string, at: bigint): string {
  const letters = Array.from(text);
  if (at < 0n || at > BigInt(letters.length)) throw new Error(`index out of range: ${at}`);
  return letters[Number(at)] ?? "";
}

type Verb = (value: unknown, precision: number | undefined) => string;

/** Of https://pkg.go.dev/github.com/google/cel-go/ext#Strings: what may stand behind a percent sign. */
const verbs: Readonly<Record<string, Verb>> = {
  s: shown,
  d: (value) => whole(value).toString(),
  f: (value, precision = 6) => Number(value).toFixed(precision),
  e: (value, precision = 6) =>
    Number(value)
      .toExponential(precision)
      .replace(/e([+-])(\d)$/, "e$10$2"),
  b: (value) => (typeof value === "boolean" ? String(Number(value)) : whole(value).toString(2)),
  o: (value) => whole(value).toString(8),
  x: (value) => (typeof value === "string" ? Buffer.from(value).toString("hex") : whole(value).toString(16)),
  X: (value) => (verbs["x"] as Verb)(value, undefined).toUpperCase(),
};

function whole(value: unknown): bigint {
  if (typeof value === "bigint") return value;
  if (value instanceof UnsignedInt) return BigInt(value.valueOf());
  throw new Error("error during formatting: only integers can be formatted that way");
}

function shown(value: unknown): string {
  if (typeof value === "string") return value;
  if (value instanceof Date) return timestampText(value);
  if (value instanceof Uint8Array) return Buffer.from(value).toString();
  if (Array.isArray(value)) return `[${value.map(shown).join(", ")}]`;
  if (value === null || typeof value !== "object" || value instanceof UnsignedInt || value instanceof Duration)
    return String(value);
  const entries: [unknown, unknown][] = value instanceof Map ? [...value] : Object.entries(value);
  return `{${entries
    .map(([key, item]) => `${shown(key)}: ${shown(item)}`)
    .toSorted()
    .join(", ")}}`;
}

const timestampText = (at: Date): string => at.toISOString().replace(/\.?0*Z$/, "Z");

function format(template: string, values: readonly unknown[]): string {
  spend(Math.ceil(template.length * TRAVERSAL));
  let next = 0;
  return template.replaceAll(
    /%(?:%|(?:\.(\d+))?([a-zA-Z]))/g,
    (found, precision: string | undefined, letter: string) => {
      if (found === "%%") return "%";
      const verb = verbs[letter];
      if (verb === undefined)
        throw new Error(`could not parse formatting clause: unrecognized formatting clause "${letter}"`);
      if (next >= values.length) throw new Error(`index ${next} out of range`);
      return verb(values[next++], precision === undefined ? undefined : Number(precision));
    },
  );
}

/** What the evaluator lacks of cel-go's strings, in the version of them that Kubernetes has. */
export function addStrings(environment: Environment): Environment {
  return environment
    .registerFunction("string.replace(string, string): string", replace)
    .registerFunction("string.replace(string, string, int): string", replace)
    .registerFunction("string.charAt(int): string", charAt)
    .registerFunction("string.format(list): string", format)
    .registerFunction("string(google.protobuf.Timestamp): string", timestampText)
    .registerFunction("int(google.protobuf.Timestamp): int", (at: Date) => BigInt(Math.floor(at.getTime() / 1000)))
    .registerFunction("timestamp(google.protobuf.Timestamp): google.protobuf.Timestamp", (at: Date) => at)
    .registerFunction("duration(google.protobuf.Duration): google.protobuf.Duration", (length: Duration) => length);
}
