import { rfc3339 } from "../../base/index.ts";
import type { KubeObject, Status } from "../../api/index.ts";
import { encodeForStore, type Entry } from "../watch/entry.ts";
import { committed } from "./create.ts";
import { isObject } from "./decode.ts";
import {
  admissionRequest,
  assertDryRun,
  cacheOf,
  mutate,
  present,
  storeKey,
  strategyContext,
  thaw,
  validateAdmission,
  type Core,
  type Operation,
  type Presented,
} from "./operation.ts";
import { isTrue } from "./request-info.ts";
import { badRequestError, conflictError, invalidError, notFoundError } from "./status.ts";

export interface DeleteOptions {
  readonly gracePeriodSeconds: number | undefined;
  readonly propagation: "Orphan" | "Background" | "Foreground" | undefined;
  readonly uid: string | undefined;
  readonly resourceVersion: string | undefined;
  readonly dryRun: readonly string[];
}

const POLICIES = ["Orphan", "Background", "Foreground"] as const;

/** From the body where there is one, else from the query. */
export function deleteOptions(body: unknown, query: URLSearchParams): DeleteOptions {
  const given = isObject(body) ? body : {};
  const grace = given["gracePeriodSeconds"] ?? numberOf(query.get("gracePeriodSeconds"));
  const policy = (given["propagationPolicy"] ?? query.get("propagationPolicy") ?? undefined) as string | undefined;
  const orphan =
    given["orphanDependents"] ?? (query.has("orphanDependents") ? isTrue(query.get("orphanDependents")) : undefined);
  const preconditions = isObject(given["preconditions"]) ? given["preconditions"] : {};
  const fail = (type: "FieldValueInvalid" | "FieldValueNotSupported", field: string, detail: string): never => {
    throw invalidError({ group: "", kind: "DeleteOptions" }, "", [{ type, field, detail }]);
  };
  if (policy !== undefined && !POLICIES.includes(policy as "Orphan")) {
    const supported = `supported values: "Background", "Foreground", "Orphan", "nil"`;
    fail("FieldValueNotSupported", "propagationPolicy", `Unsupported value: ${JSON.stringify(policy)}: ${supported}`);
  }
  if (policy !== undefined && orphan !== undefined) {
    const text = "orphanDependents and deletionPropagation cannot be both set";
    fail("FieldValueInvalid", "propagationPolicy", `Invalid value: ${JSON.stringify(policy)}: ${text}`);
  }
  const dryRun = (given["dryRun"] as string[] | undefined) ?? query.getAll("dryRun");
  assertDryRun(dryRun, "DeleteOptions");
  return {
    gracePeriodSeconds: typeof grace === "number" ? Math.max(0, grace) : undefined,
    propagation: (policy ??
      (orphan === undefined ? undefined : orphan ? "Orphan" : "Background")) as DeleteOptions["propagation"],
    uid: preconditions["uid"] as string | undefined,
    resourceVersion: preconditions["resourceVersion"] as string | undefined,
    dryRun,
  };
}

function numberOf(text: string | null): number | undefined {
  if (text === null) return undefined;
  if (!/^-?\d+$/.test(text)) throw badRequestError(`strconv.ParseInt: parsing "${text}": invalid syntax`);
  return Number(text);
}

export interface DeleteResult {
  /** The object as it was when it went, or as it waits for its finalizers. */
  readonly object: Presented;
  readonly gone: boolean;
}

const MAX_ATTEMPTS = 50;

export async function deleteObject(core: Core, op: Operation, options: DeleteOptions): Promise<DeleteResult> {
  const { kind, namespace, name } = op;
  const key = storeKey(kind, namespace, name);
  for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
    await core.feed.fresh();
    const entry = cacheOf(core, kind).entries.get(key);
    if (!entry) throw notFoundError(kind, name);
    const { object: old } = await present(kind, entry);
    assertPreconditions(op, old, options);
    const admission = admissionRequest(op, { operation: "DELETE", object: undefined, oldObject: old });
    await mutate(core, admission);
    await validateAdmission(core, admission);
    const waiting = plan(core, op, old, options);
    const result = waiting ? await mark(core, op, key, entry, waiting) : await remove(core, op, key, entry);
    if (result) return result;
  }
  throw conflictError(kind, name);
}

function assertPreconditions({ kind, name }: Operation, { metadata }: KubeObject, options: DeleteOptions): void {
  const check = (what: string, wanted: string | undefined, is: string | undefined) => {
    if (wanted === undefined || wanted === is) return;
    const why = `Precondition failed: ${what} in precondition: ${wanted}, ${what} in object meta: ${is}`;
    throw conflictError(kind, name, why);
  };
  check("UID", options.uid, metadata.uid);
  check("ResourceVersion", options.resourceVersion, metadata.resourceVersion);
}

/** The object marked as being deleted, when something must happen first; undefined when it may go at once. */
function plan(core: Core, op: Operation, old: KubeObject, options: DeleteOptions): KubeObject | undefined {
  const { strategy } = op.kind;
  const next = thaw(old);
  const { metadata } = next;
  const nowMs = core.clock.nowMs();
  metadata.finalizers = withPropagation(metadata.finalizers ?? [], options.propagation ?? strategy.defaultPropagation);
  const graceSeconds = strategy.gracePeriodSeconds?.(next, options.gracePeriodSeconds) ?? 0;
  const held = metadata.finalizers.length > 0 || Boolean(strategy.hasMoreFinalizers?.(next));
  if (metadata.finalizers.length === 0) delete metadata.finalizers;
  if (metadata.deletionTimestamp) {
    const left = metadata.deletionGracePeriodSeconds ?? 0;
    if (graceSeconds === 0 && !held) return undefined;
    if (graceSeconds >= left) return next;
    // A second delete may only shorten the wait.
    metadata.deletionTimestamp = rfc3339(nowMs + graceSeconds * 1000);
    metadata.deletionGracePeriodSeconds = graceSeconds;
    return next;
  }
  if (graceSeconds === 0 && !held) return undefined;
  metadata.deletionTimestamp = rfc3339(nowMs + graceSeconds * 1000);
  metadata.deletionGracePeriodSeconds = graceSeconds;
  if (metadata.generation) metadata.generation++;
  strategy.prepareForDelete?.(next, strategyContext(core, op));
  return next;
}

/** https://kubernetes.io/docs/concepts/architecture/garbage-collection/#cascading-deletion */
function withPropagation(finalizers: readonly string[], policy: DeleteOptions["propagation"]): string[] {
  if (policy === undefined) return [...finalizers];
  const others = finalizers.filter((name) => name !== "orphan" && name !== "foregroundDeletion");
  if (policy === "Orphan") return [...others, "orphan"];
  return policy === "Foreground" ? [...others, "foregroundDeletion"] : others;
}

async function mark(
  core: Core,
  op: Operation,
  key: string,
  entry: Entry,
  next: KubeObject,
): Promise<DeleteResult | undefined> {
  if (op.dryRun) return { object: { object: next, json: Buffer.from(JSON.stringify(next)) }, gone: false };
  const stored = op.kind.conversion ? (await op.kind.conversion.toStorage([next]))[0]! : next;
  const value = encodeForStore(stored);
  const { succeeded, revision } = await core.store.commit([{ key, modRevision: entry.revision }], [{ key, value }], []);
  return succeeded ? { object: await committed(core, op, key, value, revision), gone: false } : undefined;
}

async function remove(core: Core, op: Operation, key: string, entry: Entry): Promise<DeleteResult | undefined> {
  if (!op.dryRun) {
    const { succeeded, revision } = await core.store.commit([{ key, modRevision: entry.revision }], [], [key]);
    if (!succeeded) return undefined;
    await core.feed.reached(revision);
  }
  return { object: await present(op.kind, entry), gone: true };
}

/** The answer to a delete that is done, for kinds that don't answer with the object. */
export function deletedStatus({ kind }: Operation, { metadata }: KubeObject): Status {
  const details = { name: metadata.name, group: kind.group || undefined, kind: kind.plural, uid: metadata.uid };
  return { kind: "Status", apiVersion: "v1", metadata: {}, status: "Success", details };
}
