import { comprehensionOf } from "./ast.ts";
import type { Comprehension, Node } from "./ast.ts";
import { callCost } from "./call-costs.ts";
import type { Argument } from "./call-costs.ts";
import type { Checked } from "./checker.ts";
import { overloadsOf } from "./declarations.ts";
import { exactly, times, union, unknownSize } from "./sizes.ts";
import type { Size } from "./sizes.ts";
import { dyn, isSized } from "./types.ts";
import type { CelType } from "./types.ts";

const LIST = 10;
const MAP = 30;

/** What is known of a part of an expression. */
interface Part {
  /** At most, in cel-go's units. */
  readonly cost: number;
  readonly size: Size;
  /** Of the items or values of a list or map that the expression itself makes. */
  readonly itemSize?: Size;
  /** The schema's type that a path from a variable has led to. */
  readonly at?: CelType;
}

/**
 * What an expression costs at most, in the units of cel-go's estimator: sizes come from the schema that the variables' types were made of,
 * else from how large a request may be. Infinity: nothing bounds it.
 */
export function estimateCost(checked: Checked, roots: Readonly<Record<string, CelType>>): number {
  return new Estimator(checked, roots).visit(checked.ast).cost;
}

class Estimator {
  readonly #checked: Checked;
  readonly #scopes: Map<string, Part>[] = [];
  readonly #roots: Readonly<Record<string, CelType>>;

  constructor(checked: Checked, roots: Readonly<Record<string, CelType>>) {
    this.#checked = checked;
    this.#roots = roots;
  }

  visit(node: Node): Part {
    switch (node.op) {
      case "value":
        return { cost: 0, size: literalSize(node.args) };
      case "id":
        return this.#identifier(node, node.args);
      case ".":
      case ".?":
        return this.#select(node, node.args[0], node.args[1]);
      case "[]":
      case "[?]":
        return this.#index(node, node.args);
      case "list":
        return this.#list(node.args);
      case "map":
        return this.#map(node.args);
      case "||":
      case "&&": {
        const [left, right] = node.args.map((part) => this.visit(part));
        return { cost: left!.cost + right!.cost, size: exactly(1) };
      }
      case "?:":
        return this.#choice(node.args);
      case "!_":
        return this.#call(node, [node.args]);
      case "-_":
        return node.args.op === "value" ? { cost: 0, size: exactly(1) } : this.#call(node, [node.args]);
      case "call":
        return this.#global(node, node.args[0], node.args[1]);
      case "rcall":
        return this.#method(node, node.args[0], node.args[1], node.args[2]);
      default:
        return this.#call(node, node.args as readonly Node[]);
    }
  }

  #typeOf(node: Node): CelType {
    return this.#checked.types.get(node) ?? dyn;
  }

  /** A part that a path leads to has the size that its schema allows. */
  #at(node: Node, cost: number, at: CelType | undefined, known?: Size): Part {
    const type = this.#typeOf(node);
    if (known !== undefined) return { cost, size: known, at };
    if (at?.maxElements !== undefined) return { cost, size: { min: 0, max: at.maxElements }, at };
    return { cost, size: isSized(type) ? unknownSize : exactly(1), at };
  }

  #identifier(node: Node, name: string): Part {
    const local = this.#scopes.findLast((scope) => scope.has(name))?.get(name);
    if (local !== undefined) return { ...local, cost: 1 };
    return this.#at(node, 1, Object.hasOwn(this.#roots, name) ? this.#roots[name] : undefined);
  }

  #select(node: Node, operand: Node, field: string): Part {
    const from = this.visit(operand);
    const { kind } = this.#typeOf(operand);
    const isCharged = node.op === ".?" || kind === "map" || kind === "object" || kind === "optional";
    // A map's entry by a dot is no path to a schema upstream either; by brackets it is.
    return this.#at(node, from.cost + (isCharged ? 1 : 0), from.at?.fields?.get(field));
  }

  #index(node: Node, [operand, index]: readonly [Node, Node]): Part {
    const [from, key] = [this.visit(operand), this.visit(index)];
    const at = from.at?.params[from.at.kind === "map" ? 1 : 0];
    return this.#at(node, from.cost + key.cost + 1, at, from.itemSize);
  }

  #list(items: readonly Node[]): Part {
    const parts = items.map((item) => this.visit(item));
    return {
      cost: parts.reduce((sum, { cost }) => sum + cost, LIST),
      size: exactly(items.length),
      itemSize: parts.map(({ size }) => size).reduce(union, parts[0]?.size ?? exactly(0)),
    };
  }

  #map(entries: readonly (readonly [Node, Node])[]): Part {
    const values = entries.map(([, value]) => this.visit(value));
    const keys = entries.map(([key]) => this.visit(key));
    return {
      cost: [...keys, ...values].reduce((sum, { cost }) => sum + cost, MAP),
      size: exactly(entries.length),
      itemSize: values.map(({ size }) => size).reduce(union, values[0]?.size ?? exactly(0)),
    };
  }

  #choice([condition, yes, no]: readonly [Node, Node, Node]): Part {
    const [a, b, c] = [this.visit(condition), this.visit(yes), this.visit(no)];
    const itemSize = b.itemSize && c.itemSize && union(b.itemSize, c.itemSize);
    return { cost: a.cost + Math.max(b.cost, c.cost), size: union(b.size, c.size), itemSize };
  }

  #global(node: Node, name: string, args: readonly Node[]): Part {
    // Asking whether a field is there costs as much as getting to it.
    if (name === "has")
      return { cost: this.visit((args[0] as { args: [Node, string] }).args[0]).cost, size: exactly(1) };
    if (name !== "dyn") return this.#call(node, args);
    const inner = this.visit(args[0]!);
    return { ...inner, cost: inner.cost + 1 };
  }

  #method(node: Node, name: string, receiver: Node, args: readonly Node[]): Part {
    if (receiver.op === "id" && overloadsOf(`${receiver.args}.${name}`).some(({ isMember }) => !isMember))
      return this.#call(node, args);
    const comprehension = comprehensionOf(node);
    if (comprehension !== undefined) return this.#comprehension(comprehension);
    if (name === "optMap" || name === "optFlatMap") return this.#optionalMap(name, receiver, args);
    return this.#call(node, [receiver, ...args]);
  }

  #optionalMap(name: string, receiver: Node, [variable, body]: readonly Node[]): Part {
    const from = this.visit(receiver);
    const value = { ...from, cost: 0 };
    const result = this.#within(new Map([[variable!.args as string, value]]), () => this.visit(body!));
    // hasValue(), then a binding of value() in a list's place, then optional.of() of the result.
    const taken = LIST + from.cost + 1 + result.cost + (name === "optMap" ? 1 : 0);
    return { cost: from.cost + 1 + Math.max(taken, 1), size: result.size };
  }

  #within<T>(scope: Map<string, Part>, work: () => T): T {
    this.#scopes.push(scope);
    const result = work();
    this.#scopes.pop();
    return result;
  }

  #comprehension({ macro, range, variables, bodies }: Comprehension): Part {
    const from = this.visit(range);
    const isMap = this.#typeOf(range).kind === "map";
    const item: Part = sized(from.itemSize, from.at?.params[isMap ? 1 : 0]);
    const key: Part = isMap ? sized(undefined, from.at?.params[0]) : { cost: 1, size: exactly(1) };
    const scope = variables.length === 2 ? [key, item] : [isMap ? key : item];
    const parts = this.#within(new Map(variables.map((name, at) => [name, scope[at]!])), () =>
      bodies.map((body) => this.visit(body)),
    );
    const [init, step, result] = expansion(macro, parts);
    const cost = from.cost + init + times(from.size.max, step) + result;
    if (!/map|filter|transform/i.test(macro)) return { cost, size: exactly(1) };
    const itemSize = macro === "filter" ? item.size : parts.at(-1)!.size;
    return { cost, size: from.size, itemSize: union(itemSize, exactly(0)) };
  }

  #call(node: Node, nodes: readonly Node[]): Part {
    const parts = nodes.map((each) => this.visit(each));
    const args = nodes.map((each, at) => this.#argument(each, parts[at]!));
    const costs = (this.#checked.overloads.get(node) ?? []).map((overload) => callCost(overload, args));
    const results = costs.flatMap(({ result }) => (result === undefined ? [] : [result]));
    const sum = parts.reduce((total, { cost }) => total + cost, 0);
    const itemSizes = node.op === "+" ? parts.map(({ itemSize }) => itemSize) : [];
    return {
      ...this.#at(
        node,
        sum + Math.max(0, ...costs.map(({ cost }) => cost)),
        undefined,
        results.length > 0 ? results.reduce(union) : undefined,
      ),
      ...(itemSizes.length === 2 && itemSizes[0] && itemSizes[1]
        ? { itemSize: union(itemSizes[0], itemSizes[1]) }
        : {}),
    };
  }

  #argument(node: Node, { size, itemSize, at }: Part): Argument {
    const most = at?.params[0]?.maxElements;
    return {
      type: this.#typeOf(node),
      size,
      itemSize: itemSize ?? (most === undefined ? unknownSize : { min: 0, max: most }),
      ...(node.op === "value" && typeof node.args === "bigint" ? { literal: node.args } : {}),
    };
  }
}

const sized = (size: Size | undefined, at: CelType | undefined): Part => ({
  cost: 1,
  size: size ?? (at?.maxElements === undefined ? unknownSize : { min: 0, max: at.maxElements }),
  at,
});

/** What cel-go's expansion of a macro costs: once before, for each item, once after. */
function expansion(macro: string, bodies: readonly Part[]): [init: number, step: number, result: number] {
  const [first, last] = [bodies[0]!.cost, bodies.at(-1)!.cost];
  const condition = bodies.length > 1 ? first : 0;
  switch (macro) {
    case "all":
      return [0, 3 + last, 1];
    case "exists":
      return [0, 4 + last, 1];
    case "exists_one":
    case "existsOne":
      return [0, last + 2, 2];
    case "filter":
      return [LIST, last + 13, 1];
    case "transformMap":
    case "transformMapEntry":
      return [MAP, condition + last + 3, 1];
    default:
      return [LIST, condition + last + 2 + LIST, 1];
  }
}

function literalSize(value: unknown): Size {
  if (typeof value === "string") return exactly(Array.from(value).length);
  return exactly(value instanceof Uint8Array ? value.length : 1);
}
