import { rfc3339 } from "../../../base/index.ts";
import type { KubeObject, ManagedFieldsEntry } from "../../../api/index.ts";
import { isObject } from "../decode.ts";
import type { Kind } from "../kind.ts";
import type { Operation } from "../operation.ts";
import { apiVersionOf } from "../registry.ts";
import { FieldSet } from "./field-set.ts";
import { compare } from "./typed.ts";

/** Who manages which fields: metadata.managedFields, read and written. */
export interface Manager {
  readonly entry: ManagedFieldsEntry;
  readonly set: FieldSet;
}

/** Updating managers beyond this are merged into one, oldest first. */
const MAX_UPDATE_MANAGERS = 10;

/** Nobody manages what the server owns. */
const UNMANAGED = FieldSet.fromFieldsV1({
  "f:apiVersion": {},
  "f:kind": {},
  "f:metadata": {
    ".": {},
    "f:name": {},
    "f:namespace": {},
    "f:creationTimestamp": {},
    "f:selfLink": {},
    "f:uid": {},
    "f:generation": {},
    "f:managedFields": {},
    "f:resourceVersion": {},
    "f:deletionTimestamp": {},
    "f:deletionGracePeriodSeconds": {},
  },
});

export const managed = (set: FieldSet): FieldSet => set.difference(UNMANAGED);

/** Undefined when the list isn't one that a server wrote. */
export function readManagers(entries: readonly ManagedFieldsEntry[] | undefined): Manager[] | undefined {
  if (!Array.isArray(entries)) return [];
  const managers: Manager[] = [];
  for (const entry of entries as readonly ManagedFieldsEntry[]) {
    const known = entry.operation === "Apply" || entry.operation === "Update";
    if (!known || (entry.fieldsType ?? "FieldsV1") !== "FieldsV1" || !isObject(entry.fieldsV1 ?? {})) return undefined;
    managers.push({ entry, set: FieldSet.fromFieldsV1(entry.fieldsV1 ?? {}) });
  }
  return managers;
}

export function writeManagers(object: KubeObject, managers: readonly Manager[]): void {
  const kept = capped(managers.filter(({ set }) => !set.isEmpty));
  if (kept.length === 0) {
    delete object.metadata.managedFields;
    return;
  }
  object.metadata.managedFields = kept.toSorted(byOperationAndTime).map(({ entry, set }) => {
    const { manager, operation, apiVersion, time, subresource } = entry;
    const fields = {
      manager,
      operation,
      apiVersion,
      time,
      fieldsType: "FieldsV1",
      fieldsV1: set.toFieldsV1(),
    } as const;
    return subresource ? { ...fields, subresource } : fields;
  });
}

function byOperationAndTime(a: Manager, b: Manager): number {
  const rank = ({ entry }: Manager) => [entry.operation, entry.time ?? "", entry.manager].join(" ");
  return rank(a) < rank(b) ? -1 : 1;
}

function capped(managers: readonly Manager[]): readonly Manager[] {
  const updaters = managers.filter(({ entry }) => entry.operation === "Update").toSorted(byOperationAndTime);
  const surplus = updaters.slice(0, Math.max(0, updaters.length - MAX_UPDATE_MANAGERS));
  if (surplus.length === 0) return managers;
  const { apiVersion, time } = surplus.at(-1)!.entry;
  const set = surplus.reduce((all, one) => all.union(one.set), new FieldSet());
  const entry: ManagedFieldsEntry = { manager: "ancient-changes", operation: "Update", apiVersion, time };
  return [...managers.filter((one) => !surplus.includes(one)), { entry, set }];
}

export const isSame = (a: ManagedFieldsEntry, b: ManagedFieldsEntry): boolean =>
  a.manager === b.manager &&
  a.operation === b.operation &&
  a.apiVersion === b.apiVersion &&
  (a.subresource ?? "") === (b.subresource ?? "");

/** A client may write managedFields itself; one empty entry wipes them. What makes no sense is ignored. */
function startingManagers(old: KubeObject | undefined, next: KubeObject): Manager[] | "reset" {
  const given = next.metadata.managedFields;
  if (given?.length === 1 && Object.keys(given[0]!).length === 0) return "reset";
  if (given?.length) {
    const managers = readManagers(given);
    if (managers) return managers;
  }
  return readManagers(old?.metadata.managedFields) ?? [];
}

/** After an update or a patch: the writer manages what it changed, and nobody manages what is gone. */
export function trackUpdate(
  kind: Kind,
  old: KubeObject | undefined,
  next: KubeObject,
  op: Operation,
  nowMs: number,
): void {
  const managers = startingManagers(old, next);
  delete next.metadata.managedFields;
  if (managers === "reset") return;
  const before = old ? withoutManagers(old) : {};
  const { added, modified, removed } = compare(before, next, kind.schema);
  const changed = scoped(managed(added.union(modified)), kind, op);
  const entry: ManagedFieldsEntry = { manager: op.fieldManager, operation: "Update", apiVersion: apiVersionOf(kind) };
  if (op.subresource !== "") entry.subresource = op.subresource;
  writeManagers(next, afterUpdate(managers, entry, changed, removed, nowMs));
}

/** The main resource doesn't write status, and /status writes nothing else but metadata. */
export function scoped(set: FieldSet, kind: Kind, op: Operation): FieldSet {
  if (!kind.strategy.hasStatus || (op.subresource !== "" && op.subresource !== "status")) return set;
  const result = new FieldSet();
  for (const [element, child] of set.children) {
    const mine =
      op.subresource === "status" ? element === "f:status" || element === "f:metadata" : element !== "f:status";
    if (mine) result.children.set(element, child);
  }
  return result;
}

export function withoutManagers(object: KubeObject): KubeObject {
  const { managedFields: _own, ...metadata } = object.metadata;
  return { ...object, metadata };
}

function afterUpdate(
  managers: readonly Manager[],
  entry: ManagedFieldsEntry,
  changed: FieldSet,
  removed: FieldSet,
  nowMs: number,
): Manager[] {
  const lost = changed.union(removed);
  const mine = managers.find((one) => isSame(one.entry, entry));
  const others = managers.filter((one) => one !== mine).map((one) => ({ ...one, set: one.set.difference(lost) }));
  const set = (mine?.set ?? new FieldSet()).difference(removed).union(changed);
  const time = mine && mine.set.equals(set) ? mine.entry.time : rfc3339(nowMs);
  return [...others, { entry: { ...entry, time }, set }];
}
