import type { ASTNode } from "@marcbachmann/cel-js";

export type Node = ASTNode;

const comprehensions = new Set([
  "all",
  "exists",
  "exists_one",
  "existsOne",
  "map",
  "filter",
  "transformList",
  "transformMap",
  "transformMapEntry",
]);

/** A macro that runs its last arguments once for each item: its variables, and its bodies in their order. */
export interface Comprehension {
  readonly macro: string;
  readonly range: Node;
  /** One, or two for key (or index) and value. */
  readonly variables: readonly string[];
  readonly bodies: readonly Node[];
}

/** The comprehension that a call is, if it is one. */
export function comprehensionOf(node: Node): Comprehension | undefined {
  if (node.op !== "rcall") return undefined;
  const [macro, range, args] = node.args;
  if (!comprehensions.has(macro)) return undefined;
  const isTransform = macro.startsWith("transform");
  const isPair = args.length >= 3 && args[1]!.op === "id" && (isTransform || /^(all|exists)/.test(macro));
  const variables = args.slice(0, isPair ? 2 : 1);
  if (args.length < 2 || variables.some(({ op }) => op !== "id") || (isTransform && !isPair)) return undefined;
  return {
    macro,
    range,
    variables: variables.map(({ args: name }) => name as string),
    bodies: args.slice(variables.length),
  };
}

/** Every node below this one, itself included. */
export function* nodesOf(node: Node): Generator<Node> {
  yield node;
  yield* inside(node.args);
}

function* inside(value: unknown): Generator<Node> {
  if (Array.isArray(value)) for (const item of value) yield* inside(item);
  else if (typeof value === "object" && value !== null && "op" in value) yield* nodesOf(value as Node);
}
