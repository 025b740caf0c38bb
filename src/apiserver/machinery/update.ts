import type { KubeObject, ObjectMeta } from "../../api/index.ts";
import { encodeForStore, type Entry } from "../watch/entry.ts";
import { trackUpdate } from "./apply/managed-fields.ts";
import { committed, createObject } from "./create.ts";
import type { Kind } from "./kind.ts";
import { validateMetadataUpdate } from "./metadata.ts";
import {
  admissionRequest,
  assertNamespace,
  cacheOf,
  equalJson,
  mutate,
  present,
  stampVersion,
  storeKey,
  strategyContext,
  validateAdmission,
  type Core,
  type Operation,
  type Presented,
} from "./operation.ts";
import { badRequestError, conflictError, invalidError, notFoundError } from "./status.ts";

/** Lost races after which a write that names no resourceVersion gives up. */
const MAX_ATTEMPTS = 50;

export interface UpdateResult extends Presented {
  readonly created: boolean;
}

export interface Change {
  /** Makes the new object, ours to keep, from the frozen old one; undefined: it doesn't exist. */
  readonly make: (old: KubeObject | undefined) => Promise<KubeObject> | KubeObject;
  /** Make it when absent: an update of a kind that allows it, or apply. */
  readonly createIfAbsent: boolean;
  /** False when apply has written the managed fields itself. */
  readonly track: boolean;
  /** An update without a resourceVersion overwrites whatever is there. Patches work on what is there. */
  readonly unconditional: boolean;
}

/** Read, change, compare and swap, until no other writer came between. */
export async function updateObject(core: Core, op: Operation, change: Change): Promise<UpdateResult> {
  const { kind, namespace, name } = op;
  const key = storeKey(kind, namespace, name);
  for (let attempt = 1; ; attempt++) {
    await core.feed.fresh();
    const entry = cacheOf(core, kind).entries.get(key);
    if (!entry) {
      if (!change.createIfAbsent || op.subresource !== "") throw notFoundError(kind, name);
      const created = await createObject(core, op, await change.make(undefined), change.track);
      return { object: created.object, json: created.json, created: true };
    }
    const { object: old } = await present(kind, entry);
    const made = await change.make(old);
    const named = Boolean(made.metadata.resourceVersion && made.metadata.resourceVersion !== "0");
    assertFresh(op, made, old);
    const next = await prepare(core, op, made, old, change.track);
    const written = await write(core, op, key, entry, old, next);
    if (written) return { object: written.object, json: written.json, created: false };
    if ((named && change.unconditional) || attempt === MAX_ATTEMPTS) throw conflictError(kind, name);
  }
}

/**
 * An endpoint's own write: no defaults, no admission, no managed fields and no checks of the kind, for the object was valid before and `make`
 * changes what only the endpoint may. What `make` leaves as it was is shared with the old object, which is frozen.
 */
export async function rewriteObject(
  core: Core,
  kind: Kind,
  at: { readonly namespace: string; readonly name: string; readonly dryRun: boolean },
  make: (old: KubeObject) => KubeObject,
): Promise<void> {
  const key = storeKey(kind, at.namespace, at.name);
  for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
    await core.feed.fresh();
    const entry = cacheOf(core, kind).entries.get(key);
    if (!entry) throw notFoundError(kind, at.name);
    const value = encodeForStore(make(entry.object));
    if (at.dryRun) return;
    const compares = [{ key, modRevision: entry.revision }];
    const { succeeded, revision } = await core.store.commit(compares, [{ key, value }], []);
    if (succeeded) return core.feed.reached(revision);
  }
  throw conflictError(kind, at.name);
}

/** The preconditions that the new object itself carries. */
function assertFresh({ kind, name }: Operation, next: KubeObject, old: KubeObject): void {
  const { resourceVersion, uid } = next.metadata;
  if (uid && uid !== old.metadata.uid) {
    const why = `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${old.metadata.uid}`;
    throw conflictError(kind, name, why);
  }
  if (resourceVersion && resourceVersion !== "0") {
    if (resourceVersion !== old.metadata.resourceVersion) throw conflictError(kind, name);
  } else if (kind.strategy.allowUnconditionalUpdate === false) {
    const detail = `Invalid value: "": must be specified for an update`;
    throw invalidError(kind, name, [{ type: "FieldValueInvalid", field: "metadata.resourceVersion", detail }]);
  }
}

async function prepare(
  core: Core,
  op: Operation,
  made: KubeObject,
  old: KubeObject,
  track: boolean,
): Promise<KubeObject> {
  const { kind, name } = op;
  assertNamespace(op, made);
  made.metadata.name ||= name;
  if (made.metadata.name !== name) {
    throw badRequestError(
      `the name of the object (${made.metadata.name}) does not match the name on the URL (${name})`,
    );
  }
  kind.strategy.fillDefaults?.(made);
  const admission = admissionRequest(op, { operation: "UPDATE", object: made, oldObject: old });
  await mutate(core, admission, kind);
  const next = admission.object!;
  stampVersion(next, kind);
  keepSystemFields(next.metadata, old.metadata);
  const context = strategyContext(core, op);
  if (op.subresource === "status") keepAllButStatus(next, old);
  kind.strategy.prepareForUpdate?.(next, old, context);
  if (op.subresource === "" && kind.strategy.hasStatus) keep(next, old, "status");
  countGeneration(op, next, old);
  if (track) trackUpdate(kind, old, next, op, core.clock.nowMs());
  const errors = validateMetadataUpdate(next, old);
  errors.push(...(kind.strategy.validateUpdate?.(next, old, context) ?? []));
  if (errors.length === 0 && kind.strategy.validateExpressions !== undefined)
    errors.push(...(await kind.strategy.validateExpressions(next, old)));
  if (errors.length > 0) throw invalidError(kind, name, errors);
  await validateAdmission(core, { ...admission, object: next });
  return next;
}

function keepSystemFields(next: ObjectMeta, old: ObjectMeta): void {
  next.uid = old.uid;
  next.creationTimestamp = old.creationTimestamp;
  const owned = ["generateName", "generation", "deletionTimestamp", "deletionGracePeriodSeconds"] as const;
  for (const field of owned) {
    if (field === "generateName" && next.generateName) continue;
    if (old[field] === undefined) delete next[field];
    else Object.assign(next, { [field]: old[field] });
  }
  delete next.selfLink;
}

/** /status changes status alone, and (upstream) the metadata that isn't the server's. */
function keepAllButStatus(next: KubeObject, old: KubeObject): void {
  for (const field of new Set([...Object.keys(next), ...Object.keys(old)]))
    if (field !== "status" && field !== "metadata" && field !== "kind" && field !== "apiVersion")
      keep(next, old, field);
  const { metadata } = next;
  next.metadata = { ...old.metadata, managedFields: metadata.managedFields };
  if (metadata.labels) next.metadata.labels = metadata.labels;
  if (metadata.annotations) next.metadata.annotations = metadata.annotations;
  if (metadata.finalizers) next.metadata.finalizers = metadata.finalizers;
}

function keep(next: KubeObject, old: KubeObject, field: string): void {
  if (old[field] === undefined) delete next[field];
  else next[field] = old[field];
}

/** The generation counts changes of what is wished for: everything but metadata and status. */
function countGeneration(op: Operation, next: KubeObject, old: KubeObject): void {
  if (!op.kind.strategy.hasGeneration) return;
  if (op.subresource === "status") return;
  const { metadata: _m, status: _s, ...wished } = next;
  const { metadata: _om, status: _os, ...before } = old;
  const same = equalJson(wished, before);
  next.metadata.generation = (old.metadata.generation ?? (old.metadata.deletionTimestamp ? 0 : 1)) + (same ? 0 : 1);
}

/** Undefined when somebody else was faster. */
async function write(
  core: Core,
  op: Operation,
  key: string,
  entry: Entry,
  old: KubeObject,
  next: KubeObject,
): Promise<Presented | undefined> {
  const { kind, dryRun } = op;
  if (isFinished(op, next)) return remove(core, key, entry, next, dryRun);
  next.metadata.resourceVersion = old.metadata.resourceVersion;
  if (equalJson(next, old)) return present(kind, entry);
  if (dryRun) return { object: next, json: Buffer.from(JSON.stringify(next)) };
  const stored = kind.conversion ? (await kind.conversion.toStorage([next]))[0]! : next;
  const value = encodeForStore(stored);
  const { succeeded, revision } = await core.store.commit([{ key, modRevision: entry.revision }], [{ key, value }], []);
  return succeeded ? committed(core, op, key, value, revision) : undefined;
}

/** Deletion was waiting for finalizers, and the last one is gone. */
function isFinished({ kind }: Operation, { metadata, ...rest }: KubeObject): boolean {
  if (!metadata.deletionTimestamp || metadata.finalizers?.length) return false;
  if (kind.strategy.hasMoreFinalizers?.({ metadata, ...rest })) return false;
  return !metadata.deletionGracePeriodSeconds;
}

async function remove(
  core: Core,
  key: string,
  entry: Entry,
  next: KubeObject,
  dryRun: boolean,
): Promise<Presented | undefined> {
  if (!dryRun) {
    const { succeeded, revision } = await core.store.commit([{ key, modRevision: entry.revision }], [], [key]);
    if (!succeeded) return undefined;
    await core.feed.reached(revision);
    next.metadata.resourceVersion = String(revision);
  }
  return { object: next, json: Buffer.from(JSON.stringify(next)) };
}
