import { Optional } from "@marcbachmann/cel-js";
import type { Environment } from "@marcbachmann/cel-js";

import { spend } from "../budget.ts";
import { same } from "./equality.ts";

type Pair = { readonly key: unknown; readonly value: unknown };

/** Lists and maps with their indexes and keys beside their items; a list's items stand under `item` too. */
function entriesOf(of: unknown): Pair[] {
  if (Array.isArray(of)) return of.map((value, at) => ({ key: BigInt(at), value, item: value }));
  const entries = of instanceof Map ? [...of] : Object.entries(of as object);
  return entries.map(([key, value]: [unknown, unknown]) => ({ key, value, item: key }));
}

function mapOf(pairs: readonly Pair[]): Map<unknown, unknown> {
  const made = new Map<unknown, unknown>();
  for (const { key, value } of pairs) {
    if (made.has(key)) throw new Error(`insert failed: key '${String(key)}' already exists`);
    made.set(key, value);
  }
  return made;
}

const hasField = (of: object, name: string): boolean =>
  of instanceof Map ? of.has(name) : Object.hasOwn(of, name) && (of as Record<string, unknown>)[name] !== undefined;

const isZero = (value: unknown): boolean =>
  value === null ||
  [0n, 0, "", false].some((zero) => same(zero, value)) ||
  (typeof value === "object" && isEmpty(value));
const isEmpty = (value: object): boolean =>
  Array.isArray(value) || value instanceof Uint8Array
    ? value.length === 0
    : value instanceof Map
      ? value.size === 0
      : value.constructor === Object && Object.keys(value).length === 0;

/** What rewritten expressions call (rewrite.ts): macros that the evaluator lacks, said by those it has. */
export function addMacros(environment: Environment): Environment {
  return environment
    .registerFunction("charge(ast, ast): dyn", ({ args }: { args: readonly { args: bigint }[] }) => ({
      cost: Number(args[0]!.args),
      body: args[1],
      typeCheck: (checker: Runner, macro: Charge, context: unknown) => checker.check(macro.body, context),
      evaluate(evaluator: Runner, macro: Charge, context: unknown) {
        spend(macro.cost);
        return evaluator.run(macro.body, context);
      },
    }))
    .registerFunction("hasField(map, string): bool", hasField)
    .registerFunction("entriesOf(list): list", entriesOf)
    .registerFunction("entriesOf(map): list", entriesOf)
    .registerFunction("entryOf(dyn, dyn): map", (key: unknown, value: unknown) => ({ key, value }))
    .registerFunction("mapOfEntries(list): map", mapOf)
    .registerFunction("mapOfMaps(list): map", (maps: readonly unknown[]) => mapOf(maps.flatMap(entriesOf)))
    .registerFunction("entryList(optional): list", (of: Optional) => [of])
    .registerFunction("OptionalNamespace.ofNonZeroValue(dyn): optional", (_: unknown, value: unknown) =>
      isZero(value) ? Optional.none() : Optional.of(value),
    );
}

interface Charge {
  readonly cost: number;
  readonly body: unknown;
}

/** As the evaluator documents it for macros of others. */
interface Runner {
  check(node: unknown, context: unknown): unknown;
  run(node: unknown, context: unknown): unknown;
}
