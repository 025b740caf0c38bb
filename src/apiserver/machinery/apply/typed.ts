import type { Schema } from "../../../api/index.ts";
import { isObject } from "../decode.ts";
import { equalJson, thaw } from "../operation.ts";
import { FieldSet } from "./field-set.ts";

/**
 * Values as their schema sees them: what may be merged (granular) and what only replaced (atomic).
 * https://kubernetes.io/docs/reference/using-api/server-side-apply/#merge-strategy
 */
type Json = Record<string, unknown>;

export type Shape = "atomic" | "struct" | "map" | "set" | "keyed";

function shapeOf(schema: Schema | undefined, value: unknown): Shape {
  if (isObject(value)) return objectShape(schema);
  if (!Array.isArray(value) || schema?.type !== "array") return "atomic";
  if (keysOf(schema).length > 0) return value.every(isObject) ? "keyed" : "atomic";
  const isSet = schema.listType === "set" || (schema.listType === undefined && schema.patchStrategy?.includes("merge"));
  return isSet ? "set" : "atomic";
}

function objectShape(schema: Schema | undefined): Shape {
  if (!schema || schema.mapType === "atomic" || schema.type !== "object") return "atomic";
  if (schema.properties) return "struct";
  return schema.additionalProperties || schema.preserveUnknownFields ? "map" : "atomic";
}

function keysOf(schema: Schema): readonly string[] {
  if (schema.listType === "map") return schema.listMapKeys ?? [];
  const merges = schema.listType === undefined && schema.patchStrategy?.includes("merge");
  return merges && schema.patchMergeKey ? [schema.patchMergeKey] : [];
}

function fieldSchema(schema: Schema | undefined, field: string): Schema | undefined {
  const { properties, additionalProperties, preserveUnknownFields } = schema ?? {};
  const own = properties && Object.hasOwn(properties, field) ? properties[field] : undefined;
  return own ?? additionalProperties ?? (preserveUnknownFields ? UNTYPED : undefined);
}

/** Inside preserved unknown fields objects merge and lists replace. */
const UNTYPED: Schema = { type: "object", preserveUnknownFields: true };

/** `k:{…}` of an item. A key that is absent has its default. */
function itemElement(schema: Schema, item: unknown): string {
  if (!isObject(item)) return `v:${JSON.stringify(item)}`;
  const keys: Json = {};
  for (const key of keysOf(schema).toSorted()) {
    const value = item[key] ?? schema.items?.properties?.[key]?.default;
    if (value !== undefined) keys[key] = value;
  }
  return `k:${JSON.stringify(keys)}`;
}

/** Each part of a granular value with its path element. */
function partsOf(
  schema: Schema | undefined,
  value: unknown,
  shape: Shape,
): Map<string, { value: unknown; schema: Schema | undefined }> {
  const parts = new Map<string, { value: unknown; schema: Schema | undefined }>();
  if (shape === "struct" || shape === "map") {
    for (const [key, inner] of Object.entries(value as Json))
      if (inner !== undefined) parts.set(`f:${key}`, { value: inner, schema: fieldSchema(schema, key) });
  } else if (shape !== "atomic") {
    for (const item of value as unknown[]) {
      const element = shape === "set" ? `v:${JSON.stringify(item)}` : itemElement(schema!, item);
      parts.set(element, { value: item, schema: schema!.items });
    }
  }
  return parts;
}

/** The fields that an applied configuration states. */
export function fieldsOf(value: unknown, schema: Schema | undefined, set = new FieldSet()): FieldSet {
  const shape = shapeOf(schema, value);
  const parts = partsOf(schema, value, shape);
  if (parts.size === 0) set.member = true;
  for (const [element, part] of parts) {
    const child = set.child(element);
    if (shape !== "struct") child.member = true;
    fieldsOf(part.value, part.schema, child);
  }
  return set;
}

export interface Comparison {
  readonly added: FieldSet;
  readonly modified: FieldSet;
  readonly removed: FieldSet;
}

/** How two values of one schema differ, field by field. */
export function compare(before: unknown, after: unknown, schema: Schema | undefined): Comparison {
  const result = { added: new FieldSet(), modified: new FieldSet(), removed: new FieldSet() };
  compareInto(before, after, schema, result);
  return result;
}

function compareInto(
  before: unknown,
  after: unknown,
  schema: Schema | undefined,
  { added, modified, removed }: Comparison,
): void {
  if (before === after) return;
  const shape = shapeOf(schema, after);
  if (shape === "atomic" || shape !== shapeOf(schema, before)) {
    if (!equalJson(before, after)) modified.member = true;
    return;
  }
  const old = partsOf(schema, before, shape);
  const now = partsOf(schema, after, shape);
  for (const [element, part] of now) {
    const was = old.get(element);
    if (was) {
      if (was.value === part.value) continue;
      const inner = { added: added.child(element), modified: modified.child(element), removed: removed.child(element) };
      compareInto(was.value, part.value, part.schema, inner);
    } else wholly(part.value, part.schema, added.child(element), isImplied(schema, shape, element, part.value));
  }
  for (const [element, was] of old) if (!now.has(element)) wholly(was.value, was.schema, removed.child(element), false);
}

/** A struct, or a list that its parent requires, isn't a field of its own when it appears: only what is in it. */
function isImplied(parent: Schema | undefined, shape: Shape, element: string, value: unknown): boolean {
  if (shape !== "struct" || !isGranular(value)) return false;
  const name = element.slice(2);
  const own = fieldSchema(parent, name);
  return objectShape(own) === "struct" || Boolean(parent?.required?.includes(name));
}

const isGranular = (value: unknown) =>
  isObject(value) ? Object.keys(value).length > 0 : Array.isArray(value) && value.length > 0;

function wholly(value: unknown, schema: Schema | undefined, set: FieldSet, implied: boolean): void {
  const shape = shapeOf(schema, value);
  const parts = partsOf(schema, value, shape);
  set.member = !implied || parts.size === 0;
  for (const [element, part] of parts)
    wholly(part.value, part.schema, set.child(element), isImplied(schema, shape, element, part.value));
}

/** The live value with what a configuration states laid over it. */
export function merge(live: unknown, applied: unknown, schema: Schema | undefined): unknown {
  const shape = shapeOf(schema, applied);
  if (shape === "atomic" || shape !== shapeOf(schema, live)) return thaw(applied);
  if (shape === "struct" || shape === "map") {
    const merged = { ...(live as Json) };
    for (const [key, value] of Object.entries(applied as Json)) {
      if (value === null) delete merged[key];
      else merged[key] = key in merged ? merge(merged[key], value, fieldSchema(schema, key)) : thaw(value);
    }
    return merged;
  }
  const old = partsOf(schema, live, shape);
  const now = partsOf(schema, applied, shape);
  // The configuration's items in its order; others keep their places before the items they stood before.
  const items: unknown[] = [];
  const pending = [...now.keys()];
  for (const [element, part] of old) {
    if (!now.has(element)) items.push(part.value);
    else
      while (pending.includes(element)) {
        const next = pending.shift()!;
        const was = old.get(next);
        items.push(was ? merge(was.value, now.get(next)!.value, schema!.items) : thaw(now.get(next)!.value));
      }
  }
  for (const element of pending) items.push(thaw(now.get(element)!.value));
  return items;
}

/** The value without the fields of a set, save those that `keep` holds. Undefined when nothing is left. */
export function without(value: unknown, remove: FieldSet, keep: FieldSet, schema: Schema | undefined): unknown {
  const shape = shapeOf(schema, value);
  if (shape === "atomic") return value;
  const parts = partsOf(schema, value, shape);
  const left: Array<[string, unknown]> = [];
  for (const [element, part] of parts) {
    const doomed = remove.children.get(element);
    const kept = keep.children.get(element) ?? NOTHING;
    if (!doomed) left.push([element, part.value]);
    else if (doomed.member && kept.isEmpty) continue;
    else {
      const inner = without(part.value, doomed, kept, part.schema);
      if (inner !== undefined) left.push([element, inner]);
    }
  }
  if (left.length === 0 && parts.size > 0) return undefined;
  if (shape === "struct" || shape === "map")
    return Object.fromEntries(left.map(([element, item]) => [element.slice(2), item]));
  return left.map(([, item]) => item);
}

const NOTHING = new FieldSet();
