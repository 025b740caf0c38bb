import { invalidArgument } from "../../base/index.ts";
import type { Filters } from "../query.ts";

/** `label=key` and `label=key=value`: all of them must hold (Docker's rule for labels, unlike other filters). */
export function labelsMatch(wanted: readonly string[] | undefined, labels: Readonly<Record<string, string>>): boolean {
  return (wanted ?? []).every((one) => {
    const at = one.indexOf("=");
    return at < 0 ? one in labels : labels[one.slice(0, at)] === one.slice(at + 1);
  });
}

const UNITS_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** The `until` filter of prune: a Unix time, an RFC 3339 date, or a Go duration before now. Throws invalidArgument. */
export function untilMs(filters: Filters, nowMs: number): number | undefined {
  const values = filters.get("until");
  if (!values) return undefined;
  if (values.length !== 1) throw invalidArgument("more than one until filter specified");
  const value = values[0]!;
  if (/^\d+(\.\d+)?$/.test(value)) return Number(value) * 1000;
  const parts = [...value.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)];
  if (parts.length > 0 && parts.map((part) => part[0]).join("") === value) {
    return nowMs - parts.reduce((sum, part) => sum + Number(part[1]) * UNITS_MS[part[2]!]!, 0);
  }
  const date = Date.parse(value);
  if (Number.isNaN(date))
    throw invalidArgument(`invalid until filter: ${JSON.stringify(value)} is neither a time nor a duration`);
  return date;
}
