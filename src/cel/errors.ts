import { messageOf } from "../base/index.ts";

/** What went wrong while an expression ran, in cel-go's words, in one line. */
export function celMessage(error: unknown): string {
  const [line = ""] = messageOf(error).split("\n");
  const [, index] = /^No such key: index out of bounds, index (-?\d+) /.exec(line) ?? [];
  if (index !== undefined) return `index out of bounds: ${index}`;
  return line
    .replace(/^No such key:/, "no such key:")
    .replace(/^(?:found )?no matching overload for/, "no such overload:");
}
