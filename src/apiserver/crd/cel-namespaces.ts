import type { Environment } from "@marcbachmann/cel-js";
import { ipIsCanonical } from "./cel-values.ts";

/** Functions with a dot in their name: to the parser they are methods of a variable, so that is what they are here. */
class Sets {
  readonly library = "sets";
}
class Ips {
  readonly library = "ip";
}

/** What every expression finds beside its own variables. */
export const namespaces: Readonly<Record<string, unknown>> = { sets: new Sets(), ip: new Ips() };

type List = readonly unknown[];

/** CEL's equality, as far as members of lists need it: an integer equals the double of the same value. */
function same(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  const isNumber = (value: unknown): value is number | bigint => typeof value === "number" || typeof value === "bigint";
  // oxlint-disable-next-line eqeqeq -- 1n == 1 is what is wanted
  if (isNumber(a) && isNumber(b)) return a == b;
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((item, at) => same(item, b[at]));
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  const [left, right] = [a as Record<string, unknown>, b as Record<string, unknown>];
  const keys = Object.keys(left);
  return keys.length === Object.keys(right).length && keys.every((key) => key in right && same(left[key], right[key]));
}

const holds = (list: List, wanted: List): boolean => wanted.every((item) => list.some((one) => same(one, item)));

export function addNamespaces(environment: Environment): Environment {
  return environment
    .registerType("SetsLibrary", Sets)
    .registerType("IpLibrary", Ips)
    .registerFunction("SetsLibrary.contains(list, list): bool", (_: Sets, a: List, b: List) => holds(a, b))
    .registerFunction(
      "SetsLibrary.equivalent(list, list): bool",
      (_: Sets, a: List, b: List) => holds(a, b) && holds(b, a),
    )
    .registerFunction("SetsLibrary.intersects(list, list): bool", (_: Sets, a: List, b: List) =>
      a.some((item) => holds(b, [item])),
    )
    .registerFunction("IpLibrary.isCanonical(string): bool", (_: Ips, text: string) => ipIsCanonical(text));
}
