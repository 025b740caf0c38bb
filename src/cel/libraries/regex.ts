import type { Environment } from "@marcbachmann/cel-js";

import { spend } from "../budget.ts";
import { findAll, patternOf } from "../pattern/index.ts";
import { REGEX, TRAVERSAL } from "../sizes.ts";

const most = 100_000;

function charge(text: string, pattern: string): void {
  spend(Math.ceil((text.length + 1) * TRAVERSAL) * Math.ceil(pattern.length * REGEX));
}

function find(text: string, pattern: string, count: number): string[] {
  charge(text, pattern);
  return findAll(pattern, text, count);
}

/** Go's regular expressions, and https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-regex-library. */
export function addRegex(environment: Environment): Environment {
  return environment
    .registerFunction("string.matchesRe2(string): bool", (text: string, pattern: string) => {
      charge(text, pattern);
      return patternOf(pattern)(text);
    })
    .registerFunction("string.find(string): string", (text: string, pattern: string) => find(text, pattern, 1)[0] ?? "")
    .registerFunction("string.findAll(string): list<string>", (text: string, pattern: string) =>
      find(text, pattern, most),
    )
    .registerFunction("string.findAll(string, int): list<string>", (text: string, pattern: string, count: bigint) =>
      find(text, pattern, count < 0n ? most : Number(count)),
    );
}
