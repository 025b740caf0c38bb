import { rfc3339 } from "../../../base/index.ts";
import type { KubeObject, ManagedFieldsEntry } from "../../../api/index.ts";
import type { Kind } from "../kind.ts";
import type { Operation } from "../operation.ts";
import { apiVersionOf } from "../registry.ts";
import { statusError } from "../status.ts";
import { FieldSet, formatPath } from "./field-set.ts";
import {
  isSame,
  managed,
  readManagers,
  scoped,
  withoutManagers,
  writeManagers,
  type Manager,
} from "./managed-fields.ts";
import { compare, fieldsOf, merge, without } from "./typed.ts";

/** Server-side apply. https://kubernetes.io/docs/reference/using-api/server-side-apply/ */
const LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration";
const MAX_ANNOTATIONS = 256 * 1024;

export interface ApplyOptions {
  readonly force: boolean;
  readonly nowMs: number;
}

/** What a configuration makes of an object (or of none), with its managers. Throws the conflicts, in upstream's words. */
export function applyObject(
  kind: Kind,
  old: KubeObject | undefined,
  applied: KubeObject,
  op: Operation,
  options: ApplyOptions,
): KubeObject {
  const entry = entryOf(kind, op);
  const live = old ? withoutManagers(old) : ({ metadata: {} } as KubeObject);
  const managers = old ? managersOf(kind, old) : [];
  const mine = managers.find((one) => isSame(one.entry, entry));
  const others = managers.filter((one) => one !== mine);
  const stated = scoped(managed(fieldsOf(applied, kind.schema)), kind, op);
  const merged = merge(live, applied, kind.schema) as KubeObject;
  const next = pruned(kind, merged, mine, stated, others);
  const { added, modified, removed } = compare(live, next, kind.schema);
  const changed = managed(added.union(modified));
  const conflicts = conflictsOf(others, changed).filter((one) => !isUpgrade(kind, op, old, one));
  if (conflicts.length > 0 && !options.force) throw conflictError(conflicts);
  const kept = others.map((one) => ({ ...one, set: one.set.difference(changed).difference(removed) }));
  const time = mine?.set.equals(stated) ? mine.entry.time : rfc3339(options.nowMs);
  writeManagers(next, [...kept, { entry: { ...entry, time }, set: stated }]);
  if (op.fieldManager === "kubectl") keepLastApplied(next, applied);
  return next;
}

/** Who changes between both kinds of apply finds what kubectl stated last, where it was recorded before. */
function keepLastApplied(next: KubeObject, applied: KubeObject): void {
  if (!next.metadata.annotations?.[LAST_APPLIED]) return;
  const { [LAST_APPLIED]: _last, ...others } = next.metadata.annotations;
  const { [LAST_APPLIED]: _given, ...given } = applied.metadata.annotations ?? {};
  const metadata = { ...applied.metadata, ...(applied.metadata.annotations && { annotations: given }) };
  const text = `${JSON.stringify({ ...applied, metadata })}\n`;
  // Larger than all annotations may be together: then there is none.
  const fits = Buffer.byteLength(text) <= MAX_ANNOTATIONS;
  // What nobody changed is shared with the stored object.
  next.metadata = { ...next.metadata, annotations: fits ? { ...others, [LAST_APPLIED]: text } : others };
}

function entryOf(kind: Kind, op: Operation): ManagedFieldsEntry {
  const entry: ManagedFieldsEntry = { manager: op.fieldManager, operation: "Apply", apiVersion: apiVersionOf(kind) };
  if (op.subresource !== "") entry.subresource = op.subresource;
  return entry;
}

/** An object that nobody managed is managed by what was there before. */
function managersOf(kind: Kind, old: KubeObject): Manager[] {
  const managers = readManagers(old.metadata.managedFields) ?? [];
  if (managers.length > 0) return managers;
  const set = managed(fieldsOf(withoutManagers(old), kind.schema));
  const time = old.metadata.creationTimestamp;
  return [{ entry: { manager: "before-first-apply", operation: "Update", apiVersion: apiVersionOf(kind), time }, set }];
}

/** Drops what this manager stated last time, states no more, and nobody else manages. */
function pruned(
  kind: Kind,
  merged: KubeObject,
  mine: Manager | undefined,
  stated: FieldSet,
  others: readonly Manager[],
): KubeObject {
  const dropped = mine?.set.difference(stated);
  if (!dropped || dropped.isEmpty) return merged;
  const keep = others.reduce((all, one) => all.union(one.set), stated);
  return { metadata: {}, ...(without(merged, dropped.difference(keep), keep, kind.schema) as object) } as KubeObject;
}

interface Conflict {
  readonly entry: ManagedFieldsEntry;
  readonly path: readonly string[];
}

function conflictsOf(others: readonly Manager[], changed: FieldSet): Conflict[] {
  return others.flatMap(({ entry, set }) => [...set.intersection(changed).paths()].map((path) => ({ entry, path })));
}

/** `kubectl apply --server-side` takes over what `kubectl apply` had stated on the client's side. */
function isUpgrade(kind: Kind, op: Operation, old: KubeObject | undefined, { path }: Conflict): boolean {
  const last = old?.metadata.annotations?.[LAST_APPLIED];
  if (op.fieldManager !== "kubectl" || last === undefined) return false;
  try {
    const set = fieldsOf(JSON.parse(last), kind.schema);
    return path.reduce<FieldSet | undefined>((at, element) => at?.children.get(element), set)?.isEmpty === false;
  } catch {
    return false;
  }
}

function describe({ manager, operation, apiVersion, subresource, time }: ManagedFieldsEntry): string {
  const who = JSON.stringify(manager) + (subresource ? ` with subresource ${JSON.stringify(subresource)}` : "");
  if (operation !== "Update") return who;
  return time ? `${who} using ${apiVersion} at ${time}` : `${who} using ${apiVersion}`;
}

function conflictError(conflicts: readonly Conflict[]) {
  const causes = conflicts.map(({ entry, path }) => ({
    reason: "FieldManagerConflict",
    message: `conflict with ${describe(entry)}`,
    field: formatPath(path),
  }));
  return statusError("conflict", { message: conflictMessage(conflicts), details: { causes } });
}

function conflictMessage(conflicts: readonly Conflict[]): string {
  const [first] = conflicts;
  if (conflicts.length === 1)
    return `Apply failed with 1 conflict: conflict with ${describe(first!.entry)}: ${formatPath(first!.path)}`;
  const byManager = Map.groupBy(conflicts, ({ entry }) => describe(entry));
  const lines = [...byManager.keys()]
    .sort()
    .flatMap((who) => [`conflicts with ${who}:`, ...byManager.get(who)!.map(({ path }) => `- ${formatPath(path)}`)]);
  return `Apply failed with ${conflicts.length} conflicts: ${lines.join("\n")}`;
}
