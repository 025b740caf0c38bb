import { comprehensionOf } from "./ast.ts";
import type { Comprehension, Node } from "./ast.ts";
import { overloadsOf } from "./declarations.ts";
import type { Overload } from "./declarations.ts";
import type { Issue } from "./issues.ts";
import { offsetOf } from "./positions.ts";
import {
  bool,
  bytes,
  double,
  dyn,
  formatType,
  int,
  listOf,
  mapOf,
  namedTypes,
  nullType,
  optionalOf,
  string,
  typeOf,
  uint,
} from "./types.ts";
import type { CelType } from "./types.ts";
import { accepts, hasDyn, isSame, substitute } from "./unify.ts";
import type { Bindings } from "./unify.ts";

export type Variables = Readonly<Record<string, CelType>>;

/** What the checker knows of an expression's nodes. */
export interface Checked {
  readonly ast: Node;
  readonly type: CelType;
  readonly issues: readonly Issue[];
  readonly types: ReadonlyMap<Node, CelType>;
  /** The forms of the functions that a call may mean. */
  readonly overloads: ReadonlyMap<Node, readonly Overload[]>;
  /** Declared variables that the expression speaks of. */
  readonly used: ReadonlySet<string>;
}

/**
 * Works out the type of an expression and of each of its parts, in the messages of cel-go's checker
 * (https://github.com/google/cel-spec/blob/master/doc/langdef.md#gradual-type-checking). Never throws: what is wrong is in `issues`.
 */
export function checkTypes(ast: Node, variables: Variables): Checked {
  const checker = new Checker(variables);
  const type = checker.check(ast);
  return { ast, type, issues: checker.issues, types: checker.types, overloads: checker.overloads, used: checker.used };
}

const operatorNames: Readonly<Record<string, string>> = {
  in: "@in",
  "!_": "!_",
  "-_": "-_",
  "[]": "_[_]",
  "[?]": "_[?_]",
};
export const operatorName = (op: string): string => operatorNames[op] ?? `_${op}_`;

class Checker {
  readonly issues: Issue[] = [];
  readonly types = new Map<Node, CelType>();
  readonly overloads = new Map<Node, readonly Overload[]>();
  readonly used = new Set<string>();
  readonly #variables: Variables;
  /** Variables of comprehensions, the innermost last. */
  readonly #scopes: Map<string, CelType>[] = [];

  constructor(variables: Variables) {
    this.#variables = variables;
  }

  check(node: Node): CelType {
    const type = this.#typeOf(node);
    this.types.set(node, type);
    return type;
  }

  #typeOf(node: Node): CelType {
    switch (node.op) {
      case "value":
        return literalType(node.args);
      case "id":
        return this.#identifier(node, node.args);
      case ".":
        return this.#select(node, node.args[0], node.args[1]);
      case ".?":
        return optionalOf(unwrap(this.#select(node, node.args[0], node.args[1])));
      case "list":
        return listOf(this.#join(node.args));
      case "map":
        return mapOf(this.#join(node.args.map(([key]) => key)), this.#join(node.args.map(([, value]) => value)));
      case "?:":
        return this.#call(node, "_?_:_", node.args, false);
      case "!_":
      case "-_":
        return this.#call(node, node.op, [node.args], false);
      case "call":
        return node.args[0] === "has"
          ? this.#has(node, node.args[1])
          : this.#call(node, node.args[0], node.args[1], false);
      case "rcall":
        return this.#method(node, node.args[0], node.args[1], node.args[2]);
      default:
        return this.#call(node, operatorName(node.op), node.args as readonly Node[], false);
    }
  }

  #identifier(node: Node, name: string): CelType {
    const local = this.#scopes.findLast((scope) => scope.has(name))?.get(name);
    if (local !== undefined) return local;
    const declared = Object.hasOwn(this.#variables, name) ? this.#variables[name] : undefined;
    if (declared !== undefined) {
      this.used.add(name);
      return declared;
    }
    const named = namedTypes.get(name);
    if (named !== undefined) return typeOf(named);
    return this.#wrong(node, `undeclared reference to '${name}' (in container '')`);
  }

  #select(node: Node, operand: Node, field: string): CelType {
    const qualified = operand.op === "id" ? this.#variables[`${operand.args}.${field}`] : undefined;
    if (qualified !== undefined) {
      this.types.set(operand, dyn);
      return qualified;
    }
    const given = this.check(operand);
    const type = given.kind === "optional" ? given.params[0]! : given;
    const wrap = (result: CelType) => (given.kind === "optional" ? optionalOf(result) : result);
    if (type.kind === "map") return wrap(type.params[1]!);
    if (type.kind === "dyn" || type.kind === "param") return wrap(dyn);
    if (type.kind !== "object") return this.#wrong(node, `type '${formatType(type)}' does not support field selection`);
    const found = type.fields!.get(field);
    return found === undefined ? this.#wrong(node, `undefined field '${field}'`) : wrap(found);
  }

  #has(node: Node, [argument]: readonly Node[]): CelType {
    if (argument?.op !== ".") return this.#wrong(node, "invalid argument to has() macro");
    this.check(argument);
    return bool;
  }

  #method(node: Node, name: string, receiver: Node, args: readonly Node[]): CelType {
    if (receiver.op === "id" && overloadsOf(`${receiver.args}.${name}`).some(({ isMember }) => !isMember))
      return this.#call(node, `${receiver.args}.${name}`, args, false);
    const comprehension = comprehensionOf(node);
    if (comprehension !== undefined) return this.#comprehension(comprehension);
    if ((name === "optMap" || name === "optFlatMap") && args.length === 2 && args[0]!.op === "id")
      return this.#optionalMap(name, receiver, args[0]!.args as string, args[1]!);
    return this.#call(node, name, [receiver, ...args], true);
  }

  #comprehension({ macro, range, variables, bodies }: Comprehension): CelType {
    const type = this.check(range);
    const isList = type.kind === "list";
    if (!isList && type.kind !== "map" && type.kind !== "dyn")
      return this.#wrong(
        range,
        `expression of type '${formatType(type)}' cannot be range of a comprehension (must be list, map, or dynamic)`,
      );
    const [key, value] = isList ? [int, type.params[0]!] : type.kind === "map" ? type.params : [dyn, dyn];
    const single = isList ? value! : key!;
    const types = variables.length === 1 ? [single] : [key!, value!];
    this.#scopes.push(new Map(variables.map((name, at) => [name, types[at]!])));
    const results = bodies.map((body) => this.check(body));
    this.#scopes.pop();
    const conditions = macro === "filter" || /^(all|exists)/.test(macro) ? bodies : bodies.slice(0, -1);
    for (const condition of conditions) this.#expect(condition, bool);
    if (macro === "filter") return isList ? type : listOf(single);
    if (macro === "map" || macro === "transformList") return listOf(results.at(-1)!);
    if (macro === "transformMap") return mapOf(key!, results.at(-1)!);
    return macro === "transformMapEntry" ? results.at(-1)! : bool;
  }

  #optionalMap(name: string, receiver: Node, variable: string, body: Node): CelType {
    const type = this.check(receiver);
    this.#scopes.push(new Map([[variable, unwrap(type)]]));
    const result = this.check(body);
    this.#scopes.pop();
    return name === "optMap" ? optionalOf(result) : result;
  }

  #expect(node: Node, wanted: CelType): void {
    const given = this.types.get(node)!;
    if (!accepts(wanted, given, new Map()))
      this.#wrong(node, `expected type '${formatType(wanted)}' but found '${formatType(given)}'`);
  }

  #call(node: Node, name: string, args: readonly Node[], isMember: boolean): CelType {
    const types = args.map((arg) => this.check(arg));
    const forms = overloadsOf(name);
    if (forms.length === 0) return this.#wrong(node, `undeclared reference to '${name}' (in container '')`);
    const matching = forms.flatMap((form) => {
      const bindings: Bindings = new Map();
      const fits =
        form.isMember === isMember &&
        form.args.length === types.length &&
        form.args.every((wanted, at) => accepts(wanted, types[at]!, bindings));
      return fits ? [{ form, result: substitute(form.result, bindings) }] : [];
    });
    this.overloads.set(
      node,
      matching.map(({ form }) => form),
    );
    if (matching.length === 0) {
      const shown = types.map(formatType);
      const target = isMember ? `${shown.shift()}.` : "";
      return this.#wrong(node, `found no matching overload for '${name}' applied to '${target}(${shown.join(", ")})'`);
    }
    const [first, ...others] = matching.map(({ result }) => result);
    return others.every((result) => isSame(result, first!)) ? first! : dyn;
  }

  /** The type of what stands in one list together: nothing may be of another. */
  #join(nodes: readonly Node[]): CelType {
    let joined: CelType | undefined;
    for (const node of nodes) {
      const type = this.check(node);
      if (joined === undefined || hasDyn(joined)) joined ??= type;
      else if (!accepts(joined, type, new Map()))
        this.#wrong(node, `expected type '${formatType(joined)}' but found '${formatType(type)}'`);
    }
    return joined ?? dyn;
  }

  #wrong(node: Node, message: string): CelType {
    this.issues.push({ offset: offsetOf(node), message });
    return dyn;
  }
}

const unwrap = (type: CelType): CelType => (type.kind === "optional" ? type.params[0]! : type);

function literalType(value: unknown): CelType {
  if (value === null) return nullType;
  if (value instanceof Uint8Array) return bytes;
  const types: Partial<Record<string, CelType>> = { string, bigint: int, number: double, boolean: bool };
  return types[typeof value] ?? uint;
}
