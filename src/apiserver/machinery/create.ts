import { randomSuffix, randomUuid, rfc3339 } from "../../base/index.ts";
import type { KubeObject } from "../../api/index.ts";
import { encodeForStore, Entry } from "../watch/entry.ts";
import { trackUpdate } from "./apply/managed-fields.ts";
import { generatedPrefix } from "./metadata.ts";
import {
  admissionRequest,
  assertNamespace,
  cacheOf,
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
import { alreadyExistsError, badRequestError, invalidError } from "./status.ts";

const SUFFIX_LENGTH = 5;
const MAX_NAME_ATTEMPTS = 8;

/** Creates a decoded object, which becomes ours. `track` is false when apply has written the managed fields itself. */
export async function createObject(core: Core, op: Operation, object: KubeObject, track = true): Promise<Presented> {
  const { kind } = op;
  assertNamespace(op, object);
  if (object.metadata.resourceVersion && object.metadata.resourceVersion !== "0")
    throw badRequestError("resourceVersion should not be set on objects to be created");
  kind.strategy.fillDefaults?.(object);
  const admission = admissionRequest(op, {
    operation: "CREATE",
    object,
    oldObject: undefined,
    name: object.metadata.name ?? "",
  });
  await mutate(core, admission, kind);
  const final = admission.object!;
  const { generateName } = final.metadata;
  const generated = !final.metadata.name && Boolean(generateName);
  stamp(core, op, final);
  for (let attempt = 1; ; attempt++) {
    if (generated) final.metadata.name = generatedPrefix(generateName!) + randomSuffix(core.random, SUFFIX_LENGTH);
    if (attempt === 1) {
      kind.strategy.prepareForCreate?.(final, strategyContext(core, op));
      if (track) trackUpdate(kind, undefined, final, op, core.clock.nowMs());
      await validateNew(core, op, final);
      await validateAdmission(core, { ...admission, object: final, name: final.metadata.name! });
    }
    const result = await insert(core, op, final);
    if (result) return result;
    if (!generated || attempt === MAX_NAME_ATTEMPTS) throw alreadyExistsError(kind, final.metadata.name!);
  }
}

/** What the server owns. */
function stamp(core: Core, op: Operation, object: KubeObject): void {
  const { metadata } = object;
  stampVersion(object, op.kind);
  metadata.uid = randomUuid(core.random);
  metadata.creationTimestamp = rfc3339(core.clock.nowMs());
  delete metadata.deletionTimestamp;
  delete metadata.deletionGracePeriodSeconds;
  delete metadata.selfLink;
  delete metadata.resourceVersion;
  if (op.kind.strategy.hasGeneration) metadata.generation = 1;
  else delete metadata.generation;
}

async function validateNew(core: Core, op: Operation, object: KubeObject): Promise<void> {
  const { kind } = op;
  let errors = kind.strategy.validate?.(object, strategyContext(core, op)) ?? [];
  if (errors.length === 0 && kind.strategy.validateExpressions !== undefined)
    errors = await kind.strategy.validateExpressions(object, undefined);
  if (errors.length > 0) throw invalidError(kind, object.metadata.name ?? "", errors);
}

/** Undefined when the name is taken. */
async function insert(core: Core, op: Operation, object: KubeObject): Promise<Presented | undefined> {
  const { kind, dryRun } = op;
  const key = storeKey(kind, object.metadata.namespace ?? "", object.metadata.name!);
  if (dryRun) {
    await core.feed.fresh();
    if (cacheOf(core, kind).entries.has(key)) return undefined;
    return { object, json: Buffer.from(JSON.stringify(object)) };
  }
  const stored = kind.conversion ? (await kind.conversion.toStorage([object]))[0]! : object;
  const value = encodeForStore(stored);
  const { succeeded, revision } = await core.store.commit([{ key, modRevision: 0 }], [{ key, value }], []);
  return succeeded ? committed(core, op, key, value, revision) : undefined;
}

/** The written object as the caches show it; the same encoding that everybody else will get. */
export async function committed(
  core: Core,
  op: Operation,
  key: string,
  value: Uint8Array,
  revision: number,
): Promise<Presented> {
  await core.feed.reached(revision);
  const entry = cacheOf(core, op.kind).entries.get(key);
  return present(op.kind, entry?.revision === revision ? entry : Entry.of(key, value, revision));
}
