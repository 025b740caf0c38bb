import type { Environment } from "@marcbachmann/cel-js";

import { spend } from "../budget.ts";
import { same } from "./equality.ts";

type Comparable = number | bigint | string | boolean | Date;

function best(
  list: readonly Comparable[],
  name: string,
  isBetter: (a: Comparable, b: Comparable) => boolean,
): Comparable {
  if (list.length === 0) throw new Error(`${name} called on empty list`);
  spend(list.length);
  return list.reduce((a, b) => (isBetter(b, a) ? b : a));
}

function sum(list: readonly (number | bigint)[]): number | bigint {
  spend(list.length);
  if (list.every((item) => typeof item === "bigint")) return list.reduce((total, item) => total + item, 0n);
  return list.reduce<number>((total, item) => total + Number(item), 0);
}

/** https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-list-library */
export function addLists(environment: Environment): Environment {
  return environment
    .registerFunction("list.isSorted(): bool", (list: Comparable[]) => {
      spend(list.length);
      return list.every((item, at) => at === 0 || list[at - 1]! <= item);
    })
    .registerFunction("list.sum(): dyn", sum)
    .registerFunction("list.min(): dyn", (list: Comparable[]) => best(list, "min", (a, b) => a < b))
    .registerFunction("list.max(): dyn", (list: Comparable[]) => best(list, "max", (a, b) => a > b))
    .registerFunction("list.indexOf(dyn): int", (list: unknown[], item: unknown) => {
      spend(list.length);
      return BigInt(list.findIndex((one) => same(one, item)));
    })
    .registerFunction("list.lastIndexOf(dyn): int", (list: unknown[], item: unknown) => {
      spend(list.length);
      return BigInt(list.findLastIndex((one) => same(one, item)));
    });
}
