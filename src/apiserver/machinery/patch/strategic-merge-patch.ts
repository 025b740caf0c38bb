import type { Schema } from "../../../api/index.ts";
import { isObject } from "../decode.ts";
import { equalJson, thaw } from "../operation.ts";
import { badRequestError } from "../status.ts";

/**
 * Strategic merge patch with its directives.
 * https://github.com/kubernetes/community/blob/main/contributors/devel/sig-api-machinery/strategic-merge-patch.md
 */
type Json = Record<string, unknown>;

const ORDER = "$setElementOrder/";
const DELETE_PRIMITIVES = "$deleteFromPrimitiveList/";

export function applyStrategicMergePatch(document: Json, patch: Json, schema: Schema): Json {
  return mergeObject(thaw(document), patch, schema);
}

function mergeObject(original: Json, patch: Json, schema: Schema | undefined): Json {
  const directive = patch["$patch"];
  if (directive === "replace") return stripped(patch);
  if (directive === "delete") return {};
  if (directive !== undefined && directive !== "merge")
    throw badRequestError(`Unknown patch type found: ${JSON.stringify(directive)}`);
  retainKeys(original, patch);
  for (const [key, value] of Object.entries(patch)) {
    if (key.startsWith(DELETE_PRIMITIVES)) deletePrimitives(original, key.slice(DELETE_PRIMITIVES.length), value);
    else if (!key.startsWith("$")) mergeField(original, key, value, childOf(schema, key));
  }
  for (const [key, value] of Object.entries(patch))
    if (key.startsWith(ORDER))
      reorder(original, key.slice(ORDER.length), value, childOf(schema, key.slice(ORDER.length)));
  return original;
}

const childOf = (schema: Schema | undefined, key: string): Schema | undefined =>
  (schema?.properties && Object.hasOwn(schema.properties, key) ? schema.properties[key] : undefined) ??
  schema?.additionalProperties;

function mergeField(target: Json, key: string, value: unknown, schema: Schema | undefined): void {
  if (value === null) delete target[key];
  else if (isObject(value)) {
    const before = target[key];
    const merged = mergeObject(isObject(before) ? before : {}, value, schema);
    if (value["$patch"] === "delete") delete target[key];
    else target[key] = merged;
  } else if (Array.isArray(value)) target[key] = mergeList(target[key], value, schema);
  else target[key] = value;
}

function retainKeys(target: Json, patch: Json): void {
  const keep = patch["$retainKeys"];
  if (keep === undefined) return;
  if (!Array.isArray(keep)) throw badRequestError("invalid patch: $retainKeys must be a list");
  for (const key of Object.keys(target)) if (!keep.includes(key)) delete target[key];
}

function deletePrimitives(target: Json, key: string, values: unknown): void {
  const list = target[key];
  if (Array.isArray(list) && Array.isArray(values)) target[key] = list.filter((item) => !values.includes(item));
}

function mergeList(before: unknown, patch: readonly unknown[], schema: Schema | undefined): unknown[] {
  const original = Array.isArray(before) ? (before as unknown[]) : [];
  if (!schema?.patchStrategy?.includes("merge")) return patch.map(stripped) as unknown[];
  const key = schema.patchMergeKey;
  if (key === undefined) return [...original, ...patch.filter((item) => !original.some((one) => equalJson(one, item)))];
  if (patch.some((item) => isObject(item) && item["$patch"] === "replace" && item[key] === undefined))
    return patch
      .filter((item) => !(isObject(item) && item["$patch"] === "replace" && item[key] === undefined))
      .map(stripped);
  return mergeByKey(original, patch, key, schema.items);
}

function mergeByKey(
  original: unknown[],
  patch: readonly unknown[],
  key: string,
  schema: Schema | undefined,
): unknown[] {
  let merged = [...original];
  for (const item of patch) {
    if (!isObject(item))
      throw badRequestError(`invalid patch: a list merged by ${key} holds something that isn't an object`);
    if (item[key] === undefined)
      throw badRequestError(`map: ${JSON.stringify(item)} does not contain declared merge key: ${key}`);
    const isSame = (one: unknown) => isObject(one) && equalJson(one[key], item[key]);
    if (item["$patch"] === "delete") merged = merged.filter((one) => !isSame(one));
    else {
      const at = merged.findIndex(isSame);
      const next = mergeObject(at < 0 || item["$patch"] === "replace" ? {} : (merged[at] as Json), item, schema);
      if (at < 0) merged.push(next);
      else merged[at] = next;
    }
  }
  return merged;
}

/** What the order names stands in that order; what it doesn't name keeps its place. */
function reorder(target: Json, field: string, order: unknown, schema: Schema | undefined): void {
  const list = target[field];
  if (!Array.isArray(list) || !Array.isArray(order)) return;
  const key = schema?.patchMergeKey;
  const rankOf = (item: unknown) =>
    order.findIndex((wanted) => {
      if (key === undefined) return equalJson(wanted, item);
      return isObject(wanted) && isObject(item) && equalJson(wanted[key], item[key]);
    });
  const ranked = list.map((item: unknown) => ({ item, rank: rankOf(item) }));
  const sorted = ranked.filter(({ rank }) => rank >= 0).sort((a, b) => a.rank - b.rank);
  target[field] = ranked.map((one) => (one.rank < 0 ? one.item : sorted.shift()!.item));
}

/** Without directives. */
function stripped<T>(value: T): T {
  if (Array.isArray(value)) return value.map(stripped) as T;
  if (!isObject(value)) return value;
  const entries = Object.entries(value).filter(([key, item]) => !key.startsWith("$") && item !== null);
  return Object.fromEntries(entries.map(([key, item]) => [key, stripped(item)])) as T;
}
