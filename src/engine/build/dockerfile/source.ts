import { invalidArgument, type BerthError } from "../../../base/index.ts";

/** A place in a Dockerfile. Both count from 1, as editors do. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** A Dockerfile's text and name, which errors quote. */
export class Source {
  readonly name: string;
  readonly lines: readonly string[];

  constructor(name: string, text: string) {
    this.name = name;
    this.lines = text.replace(/^\uFEFF/, "").split(/\r?\n/);
  }

  /** Up to two lines before the place, the line itself, and carets under what is wrong. */
  excerpt(at: Position, length = 1): string {
    const width = String(at.line).length;
    const quoted = [];
    for (let line = Math.max(1, at.line - 2); line <= at.line; line++) {
      quoted.push(`${String(line).padStart(width + 2)} | ${this.lines[line - 1] ?? ""}`);
    }
    const text = this.lines[at.line - 1] ?? "";
    const before = text.slice(0, at.column - 1).replace(/[^\t]/g, " ");
    const carets = "^".repeat(Math.max(1, Math.min(length, text.length - at.column + 1)));
    return [...quoted, `${" ".repeat(width + 2)} | ${before}${carets}`].join("\n");
  }
}

export interface DockerfileErrorOptions {
  /** Characters that the carets underline. */
  readonly length?: number;
  readonly hint?: string;
  readonly cause?: unknown;
}

/** An invalidArgument whose message says where, shows the line, and tells the way out below it: so it has no `hint` of its own. */
export function dockerfileError(
  source: Source,
  at: Position,
  what: string,
  options: DockerfileErrorOptions = {},
): BerthError {
  const hint = options.hint ? `\n${options.hint}` : "";
  const message =
    `dockerfile parse error on line ${at.line}: ${what}\n` +
    `${source.name}:${at.line}:${at.column}\n${source.excerpt(at, options.length)}${hint}`;
  return invalidArgument(message, {
    details: { file: source.name, line: at.line, column: at.column },
    ...(options.cause === undefined ? {} : { cause: options.cause }),
  });
}

/** The known word nearest to a misspelt one, if one is near enough to be meant. */
export function nearest(word: string, known: Iterable<string>): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.min(3, Math.floor(word.length / 2) + 1);
  for (const candidate of known) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

/** Insertions, deletions, replacements and swaps of neighbours each cost one. */
function editDistance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1;
      let cost = Math.min(rows[i - 1]![j]! + 1, row[j - 1]! + 1, rows[i - 1]![j - 1]! + same);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        cost = Math.min(cost, rows[i - 2]![j - 2]! + 1);
      row.push(cost);
    }
    rows.push(row);
  }
  return rows[a.length]![b.length]!;
}
