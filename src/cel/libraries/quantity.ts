import type { Environment } from "@marcbachmann/cel-js";

import { parseQuantityNano } from "../../base/index.ts";
import { can } from "./can.ts";

const nano = 1_000_000_000n;

/** A resource quantity, in billionths. */
export class Quantity {
  readonly value: bigint;

  constructor(value: bigint) {
    this.value = value;
  }

  static parse(text: string): Quantity {
    return new Quantity(parseQuantityNano(text));
  }
}

const compare = (a: Quantity, b: Quantity): bigint => (a.value < b.value ? -1n : a.value > b.value ? 1n : 0n);
const sum = (a: Quantity, b: bigint): Quantity => new Quantity(a.value + b);

/** https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-quantity-library */
export function addQuantities(environment: Environment): Environment {
  return environment
    .registerType("kubernetes.Quantity", Quantity)
    .registerOperator("kubernetes.Quantity == kubernetes.Quantity", (a: Quantity, b: Quantity) => a.value === b.value)
    .registerFunction("quantity(string): kubernetes.Quantity", (text: string) => Quantity.parse(text))
    .registerFunction("isQuantity(string): bool", (text: string) => can(() => Quantity.parse(text)))
    .registerFunction(
      "kubernetes.Quantity.isGreaterThan(kubernetes.Quantity): bool",
      (a: Quantity, b: Quantity) => a.value > b.value,
    )
    .registerFunction(
      "kubernetes.Quantity.isLessThan(kubernetes.Quantity): bool",
      (a: Quantity, b: Quantity) => a.value < b.value,
    )
    .registerFunction("kubernetes.Quantity.compareTo(kubernetes.Quantity): int", compare)
    .registerFunction("kubernetes.Quantity.add(kubernetes.Quantity): kubernetes.Quantity", (a: Quantity, b: Quantity) =>
      sum(a, b.value),
    )
    .registerFunction("kubernetes.Quantity.add(int): kubernetes.Quantity", (a: Quantity, b: bigint) => sum(a, b * nano))
    .registerFunction("kubernetes.Quantity.sub(kubernetes.Quantity): kubernetes.Quantity", (a: Quantity, b: Quantity) =>
      sum(a, -b.value),
    )
    .registerFunction("kubernetes.Quantity.sub(int): kubernetes.Quantity", (a: Quantity, b: bigint) =>
      sum(a, -b * nano),
    )
    .registerFunction("kubernetes.Quantity.sign(): int", (a: Quantity) => compare(a, new Quantity(0n)))
    .registerFunction("kubernetes.Quantity.isInteger(): bool", (a: Quantity) => a.value % nano === 0n)
    .registerFunction("kubernetes.Quantity.asInteger(): int", (a: Quantity) => {
      if (a.value % nano !== 0n) throw new Error("cannot convert value to integer");
      return a.value / nano;
    })
    .registerFunction("kubernetes.Quantity.asApproximateFloat(): double", (a: Quantity) => Number(a.value) / 1e9);
}
