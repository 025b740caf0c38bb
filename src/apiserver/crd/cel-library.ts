import { Environment } from "@marcbachmann/cel-js";

import { parseQuantityNano } from "../../base/index.ts";
import { addNamespaces } from "./cel-namespaces.ts";
import { addValueLibraries } from "./cel-values.ts";
import { findAll, patternOf } from "./pattern.ts";

/** Structural bounds on what an expression's author may make the server compute. */
const limits = { maxAstNodes: 10_000, maxDepth: 100, maxListElements: 1000, maxMapEntries: 1000, maxCallArguments: 32 };
const nano = 1_000_000_000n;

/** A resource quantity, in billionths. */
class Quantity {
  readonly value: bigint;

  constructor(value: bigint) {
    this.value = value;
  }
}

function isQuantity(text: string): boolean {
  try {
    parseQuantityNano(text);
    return true;
  } catch {
    return false;
  }
}

const compare = (a: Quantity, b: Quantity): bigint => (a.value < b.value ? -1n : a.value > b.value ? 1n : 0n);
type Comparable = number | bigint | string;
const best = (list: readonly Comparable[], isBetter: (a: Comparable, b: Comparable) => boolean): Comparable => {
  if (list.length === 0) throw new Error("min or max of an empty list");
  return list.reduce((a, b) => (isBetter(b, a) ? b : a));
};

/** CEL with what Kubernetes adds to it (https://kubernetes.io/docs/reference/using-api/cel/#cel-options-language-features-and-libraries). */
export function celEnvironment(): Environment {
  return addNamespaces(addValueLibraries(new Environment({ unlistedVariablesAreDyn: true, limits })))
    .registerFunction("string.matchesRe2(string): bool", (text: string, pattern: string) => patternOf(pattern)(text))
    .registerType("Quantity", Quantity)
    .registerFunction("quantity(string): Quantity", (text: string) => new Quantity(parseQuantityNano(text)))
    .registerFunction("isQuantity(string): bool", isQuantity)
    .registerFunction("Quantity.isGreaterThan(Quantity): bool", (a: Quantity, b: Quantity) => a.value > b.value)
    .registerFunction("Quantity.isLessThan(Quantity): bool", (a: Quantity, b: Quantity) => a.value < b.value)
    .registerFunction("Quantity.compareTo(Quantity): int", compare)
    .registerFunction("Quantity.add(Quantity): Quantity", (a: Quantity, b: Quantity) => new Quantity(a.value + b.value))
    .registerFunction("Quantity.sub(Quantity): Quantity", (a: Quantity, b: Quantity) => new Quantity(a.value - b.value))
    .registerFunction("Quantity.sign(): int", (a: Quantity) => compare(a, new Quantity(0n)))
    .registerFunction("Quantity.isInteger(): bool", (a: Quantity) => a.value % nano === 0n)
    .registerFunction("Quantity.asInteger(): int", (a: Quantity) => a.value / nano)
    .registerFunction("Quantity.asApproximateFloat(): double", (a: Quantity) => Number(a.value) / 1e9)
    .registerFunction(
      "string.find(string): string",
      (text: string, pattern: string) => findAll(pattern, text, 1)[0] ?? "",
    )
    .registerFunction("string.findAll(string): list", (text: string, pattern: string) => findAll(pattern, text, 1000))
    .registerFunction("list.isSorted(): bool", (list: Comparable[]) =>
      list.every((item, at) => at === 0 || list[at - 1]! <= item),
    )
    .registerFunction("list.min(): dyn", (list: Comparable[]) => best(list, (a, b) => a < b))
    .registerFunction("list.max(): dyn", (list: Comparable[]) => best(list, (a, b) => a > b));
}
