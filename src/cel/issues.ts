/** What is wrong at one place of an expression. */
export interface Issue {
  /** Characters from the beginning of the expression. */
  readonly offset: number;
  readonly message: string;
}

/** In cel-go's form: the message, the line and a mark below the place. */
export function formatIssue(source: string, { offset, message }: Issue): string {
  const before = source.slice(0, offset);
  const start = before.lastIndexOf("\n") + 1;
  const line = before.split("\n").length;
  const column = Array.from(source.slice(start, offset)).length;
  const [text = ""] = source.slice(start).split("\n", 1);
  return `ERROR: <input>:${line}:${column + 1}: ${message}\n | ${text}\n | ${".".repeat(column)}^`;
}
