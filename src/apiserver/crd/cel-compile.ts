import { celEnvironment } from "./cel-library.ts";
import { namespaces } from "./cel-namespaces.ts";

export type Program = (variables: Record<string, unknown>) => unknown;

const remembered = 1000;
const programs = new Map<string, Program>();
let environment: ReturnType<typeof celEnvironment> | undefined;

/** An expression as a function of its variables, compiled once. Throws what the parser says. */
export function compileCel(expression: string): Program {
  let program = programs.get(expression);
  if (program === undefined) {
    if (programs.size >= remembered) programs.clear();
    const parsed = (environment ??= celEnvironment()).parse(expression);
    useRe2((parsed as unknown as { ast: unknown }).ast);
    const run = parsed as unknown as Program;
    program = (variables) => run({ ...namespaces, ...variables });
    programs.set(expression, program);
  }
  return program;
}

/** The parser's own `matches` has JavaScript's regular expressions, which can take forever; its calls become calls of ours. */
function useRe2(node: unknown): void {
  if (Array.isArray(node)) {
    for (const item of node) useRe2(item);
    return;
  }
  if (typeof node !== "object" || node === null || !("op" in node)) return;
  const { op, args } = node as { op: string; args: unknown };
  if (op === "rcall" && Array.isArray(args) && args[0] === "matches") args[0] = "matchesRe2";
  useRe2(args);
}
