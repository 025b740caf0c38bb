import { dyn, formatType } from "./types.ts";
import type { CelType } from "./types.ts";

/** What the parameters of a declaration stand for in one call. */
export type Bindings = Map<string, CelType>;

/** Whether a value of type `given` may stand where `wanted` is declared; binds the parameters of `wanted`. */
export function accepts(wanted: CelType, given: CelType, bindings: Bindings): boolean {
  if (wanted.kind === "param") return bind(wanted.name, given, bindings);
  if (wanted.kind === "dyn" || given.kind === "dyn") return true;
  // null is a value of every type that upstream keeps by reference.
  if (given.name === "null") return wanted.name === "null" || isNullable(wanted);
  if (wanted.name === "null") return isNullable(given);
  if (wanted.kind !== given.kind || wanted.name !== given.name) return false;
  if (wanted.kind === "type") return true;
  return wanted.params.every((param, at) => accepts(param, given.params[at] ?? dyn, bindings));
}

const isNullable = ({ kind, name }: CelType): boolean =>
  kind === "object" || kind === "opaque" || name === "duration" || name === "timestamp";

function bind(name: string, given: CelType, bindings: Bindings): boolean {
  const before = bindings.get(name);
  if (before === undefined) {
    bindings.set(name, given);
    return true;
  }
  if (accepts(before, given, new Map())) {
    // The more general of the two stays: an empty list says nothing of its items.
    if (hasDyn(given) && !hasDyn(before)) bindings.set(name, given.kind === "dyn" ? given : before);
    else if (hasDyn(before) && before.kind !== "dyn") bindings.set(name, given);
    return true;
  }
  return accepts(given, before, new Map());
}

export const hasDyn = (type: CelType): boolean => type.kind === "dyn" || type.params.some(hasDyn);

/** A type with its parameters filled in; what nothing was bound to can be anything. */
export function substitute(type: CelType, bindings: Bindings): CelType {
  if (type.kind === "param") return bindings.get(type.name) ?? dyn;
  if (type.params.length === 0) return type;
  return { ...type, params: type.params.map((param) => substitute(param, bindings)) };
}

export const isSame = (a: CelType, b: CelType): boolean => formatType(a) === formatType(b);
