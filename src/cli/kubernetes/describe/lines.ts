/** A line of a description: a key with its value, a heading, or text as it stands. */
export interface Line {
  readonly indent: number;
  readonly key?: string;
  readonly value?: string;
  readonly text?: string;
}

/** Lines under each other, as kubectl describe has them: two spaces for each level, values of neighbours below each other. */
export class Lines {
  readonly #lines: Line[] = [];

  /** Several values stand below each other; none is `<none>`. */
  add(indent: number, key: string, value: string | number | boolean | readonly string[] | undefined): this {
    const values = Array.isArray(value) ? (value as readonly string[]) : [value === undefined ? "" : String(value)];
    const [first = "<none>", ...rest] = values.length === 0 ? ["<none>"] : values;
    this.#lines.push({ indent, key, value: first });
    for (const more of rest) this.#lines.push({ indent, key: "", value: more });
    return this;
  }
  heading(indent: number, key: string): this {
    this.#lines.push({ indent, key });
    return this;
  }
  text(indent: number, text: string): this {
    for (const line of text.split("\n")) this.#lines.push({ indent, text: line });
    return this;
  }

  toString(): string {
    return this.#lines.map((line, at) => this.#shown(line, at)).join("\n");
  }

  #shown({ indent, key, value, text }: Line, at: number): string {
    const margin = "  ".repeat(indent);
    if (text !== undefined) return margin + text;
    const label = key === "" ? "" : `${key}:`;
    if (value === undefined) return margin + label;
    const isNeighbour = (line: Line | undefined) => line?.value !== undefined;
    let [first, last] = [at, at];
    while (isNeighbour(this.#lines[first - 1])) first--;
    while (isNeighbour(this.#lines[last + 1])) last++;
    const widths = this.#lines.slice(first, last + 1).map((line) => line.indent * 2 + line.key!.length + 1);
    return (margin + label).padEnd(Math.max(...widths) + 2) + value;
  }
}

/** `a=b`, sorted; what tools keep for themselves is left out. */
export function pairs(given: Readonly<Record<string, string>> | undefined, separator = "="): string[] {
  return Object.entries(given ?? {})
    .filter(([name]) => name !== "kubectl.kubernetes.io/last-applied-configuration")
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${name}${separator}${value}`);
}
