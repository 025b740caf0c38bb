import { invalidArgument } from "../base/index.ts";

const UNITS_MS: Readonly<Record<string, number>> = { ns: 1e-6, us: 1e-3, µs: 1e-3, ms: 1, s: 1e3, m: 60e3, h: 3600e3 };

/**
 * A point in time as Docker's clients write it, in milliseconds since the epoch: seconds with a fraction (`1700000000.123456789`), RFC 3339 with or
 * without zone and time, or a Go duration before now (`10m`). Throws invalidArgument.
 */
export function parseTimestamp(text: string, nowMs: number): number {
  if (/^-?\d+(\.\d+)?$/.test(text)) return Number(text) * 1000;
  const durations = [...text.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/g)];
  if (durations.length > 0 && durations.map((match) => match[0]).join("") === text.replace(/^-/, "")) {
    return nowMs - durations.reduce((sum, [, amount, unit]) => sum + Number(amount) * UNITS_MS[unit!]!, 0);
  }
  if (/^\d{4}-\d\d-\d\d([T ]\d\d(:\d\d(:\d\d(\.\d+)?)?)?(Z|[+-]\d\d:?\d\d)?)?$/.test(text)) {
    const parsed = Date.parse(/T\d\d$/.test(text) ? `${text}:00` : text);
    if (!Number.isNaN(parsed)) return parsed;
  }
  throw invalidArgument(`invalid value: failed to parse value as time or duration: "${text}"`);
}
