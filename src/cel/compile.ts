import type { Environment } from "@marcbachmann/cel-js";

import { messageOf } from "../base/index.ts";
import type { Node } from "./ast.ts";
import { metered, PER_CALL } from "./budget.ts";
import type { Budget } from "./budget.ts";
import { checkTypes } from "./checker.ts";
import type { Checked, Variables } from "./checker.ts";
import { celEnvironment } from "./environment.ts";
import { formatIssue } from "./issues.ts";
import { baseCost, rewrite } from "./rewrite.ts";

/** An expression as a function of its variables. Throws what CEL throws, and CostExceeded. */
export type Program = (variables: Readonly<Record<string, unknown>>, budget?: Budget) => unknown;

const remembered = 1000;
const programs = new Map<string, Program>();
let environment: Environment | undefined;
let evaluator: Environment | undefined;

function parse(expression: string): Node {
  environment ??= celEnvironment();
  return environment.parse(expression).ast;
}

/** An expression as a function of its variables, compiled once. Throws what the parser says. */
export function compileCel(expression: string): Program {
  let program = programs.get(expression);
  if (program === undefined) {
    if (programs.size >= remembered) programs.clear();
    program = compile(expression);
    programs.set(expression, program);
  }
  return program;
}

function compile(expression: string): Program {
  const ast = parse(expression);
  const cost = baseCost(ast);
  // Rewritten, an expression is longer than its author may make it; what lists may mix is the checker's to say.
  evaluator ??= environment!.clone({
    homogeneousAggregateLiterals: false,
    limits: { maxAstNodes: 100_000, maxDepth: 500 },
  });
  const run = evaluator.parse(rewrite(ast));
  return (variables, budget) => {
    let spent = PER_CALL;
    try {
      const result = metered(cost, () => run(variables) as unknown);
      spent = result.cost;
      return result.value;
    } finally {
      budget?.take(spent);
    }
  };
}

/** What is wrong with an expression of these variables, in cel-go's words and form; undefined when nothing is. */
export interface Compiled {
  readonly checked?: Checked;
  readonly problem?: string;
}

/** Parses an expression and works out its types, without running it. */
export function checkCel(expression: string, variables: Variables): Compiled {
  let ast: Node;
  try {
    ast = parse(expression);
  } catch (error) {
    const { range } = error as { range?: { start: number } };
    const message = `Syntax error: ${messageOf(error).split("\n")[0]}`;
    return { problem: formatIssue(expression, { offset: range?.start ?? 0, message }) };
  }
  const checked = checkTypes(ast, variables);
  if (checked.issues.length === 0) return { checked };
  const sorted = checked.issues.toSorted((a, b) => a.offset - b.offset);
  return { checked, problem: sorted.map((issue) => formatIssue(expression, issue)).join("\n") };
}
