import { comprehensionOf, nodesOf } from "./ast.ts";
import type { Comprehension, Node } from "./ast.ts";

/** Names that no author can write: the parser reads them only in what comes from here. */
const ENTRY = "entry__of__";

/**
 * An expression in the words of the evaluator: its own `matches` has JavaScript's regular expressions, which can take forever; macros
 * that it lacks are said by those it has; and what runs for each item says what it costs (budget.ts).
 */
export function rewrite(ast: Node): string {
  return new Rewriter().text(ast);
}

/** What evaluating an expression costs apart from what runs for each item: about one for each of its parts, as upstream counts. */
export function baseCost(node: Node): number {
  const inner = comprehensionOf(node)?.bodies ?? [];
  const parts = [...nodesOf(node)].length;
  return parts - inner.reduce((sum, body) => sum + [...nodesOf(body)].length, 0);
}

class Rewriter {
  #entries = 0;
  /** What names stand for inside of rewritten macros; undefined is a variable of the evaluator's own macros. */
  readonly #meanings: Map<string, string | undefined>[] = [];

  text(node: Node): string {
    switch (node.op) {
      case "value":
        // As it was written: numbers would lose digits on the way.
        return node.input.slice(node.start, node.end);
      case "id":
        return this.#meanings.findLast((names) => names.has(node.args))?.get(node.args) ?? node.args;
      case ".":
      case ".?":
        return `${this.#operand(node.args[0])}${node.op}${node.args[1]}`;
      case "[]":
        return `${this.#operand(node.args[0])}[${this.text(node.args[1])}]`;
      case "[?]":
        return `${this.#operand(node.args[0])}[?${this.text(node.args[1])}]`;
      case "list":
        return `[${this.#list(node.args)}]`;
      case "map":
        return `{${node.args.map(([key, value]) => `${this.text(key)}: ${this.text(value)}`).join(", ")}}`;
      case "?:":
        return `(${this.text(node.args[0])} ? ${this.text(node.args[1])} : ${this.text(node.args[2])})`;
      case "!_":
      case "-_":
        return `${node.op[0]}${this.#operand(node.args)}`;
      case "call":
        return this.#call(node.args[0], node.args[1]);
      case "rcall":
        return this.#method(node);
      default: {
        const [left, right] = node.args as readonly [Node, Node];
        return `(${this.text(left)} ${node.op} ${this.text(right)})`;
      }
    }
  }

  /** In parentheses where anything may stand before or behind it. */
  #operand(node: Node): string {
    const text = this.text(node);
    return node.op === "-_" || node.op === "!_" || node.op === "value" ? `(${text})` : text;
  }

  #list(nodes: readonly Node[]): string {
    return nodes.map((node) => this.text(node)).join(", ");
  }

  #call(name: string, args: readonly Node[]): string {
    // The evaluator's own has() takes names joined by dots alone.
    if (name === "has" && args[0]?.op === "." && args[0].args[0].op !== ".?")
      return `hasField(${this.text(args[0].args[0])}, ${JSON.stringify(args[0].args[1])})`;
    if (name !== "matches" || args.length !== 2) return `${name}(${this.#list(args)})`;
    return `${this.#operand(args[0]!)}.matchesRe2(${this.text(args[1]!)})`;
  }

  #method(node: Node & { op: "rcall" }): string {
    const comprehension = comprehensionOf(node);
    if (comprehension !== undefined) return this.#comprehension(comprehension);
    const [name, on, args] = node.args;
    if ((name === "optMap" || name === "optFlatMap") && args.length === 2) return this.#optional(name, on, args);
    return `${this.#operand(on)}.${name === "matches" ? "matchesRe2" : name}(${this.#list(args)})`;
  }

  /** What runs for each item, with its cost. */
  #body(meanings: Map<string, string | undefined>, node: Node): string {
    this.#meanings.push(meanings);
    const text = `charge(${baseCost(node) + 3}, ${this.text(node)})`;
    this.#meanings.pop();
    return text;
  }

  #comprehension({ macro, range, variables, bodies }: Comprehension): string {
    const [first, second] = variables as [string, string?];
    if (second === undefined && macro !== "existsOne") {
      const names = new Map([[first, undefined]]);
      return `${this.#operand(range)}.${macro}(${[first, ...bodies.map((body) => this.#body(names, body))].join(", ")})`;
    }
    const entry = `${ENTRY}${this.#entries++}`;
    const names =
      second === undefined
        ? new Map([[first, `${entry}.item`]])
        : new Map([
            [first, `${entry}.key`],
            [second, `${entry}.value`],
          ]);
    const inner = bodies.map((body) => this.#body(names, body));
    if (macro === "transformMap") inner.push(`entryOf(${entry}.key, ${inner.pop()})`);
    const plain: Partial<Record<string, string>> = {
      existsOne: "exists_one",
      transformList: "map",
      transformMap: "map",
      transformMapEntry: "map",
    };
    const text = `entriesOf(${this.text(range)}).${plain[macro] ?? macro}(${[entry, ...inner].join(", ")})`;
    if (macro === "transformMap") return `mapOfEntries(${text})`;
    return macro === "transformMapEntry" ? `mapOfMaps(${text})` : text;
  }

  /** `x.optMap(v, f)`: the value goes through f where there is one. */
  #optional(name: string, on: Node, [variable, body]: readonly Node[]): string {
    const entry = `${ENTRY}${this.#entries++}`;
    const result = this.#body(new Map([[variable!.args as string, `${entry}.value()`]]), body!);
    const some = name === "optMap" ? `optional.of(${result})` : result;
    return `entryList(${this.text(on)}).map(${entry}, ${entry}.hasValue() ? ${some} : optional.none())[0]`;
  }
}
