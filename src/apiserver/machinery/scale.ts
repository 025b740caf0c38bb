import type { KubeObject } from "../../api/index.ts";
import { since } from "./age.ts";
import { assertKind, decodeBody, isObject, mediaType } from "./decode.ts";
import type { Column, Kind, ScalePaths } from "./kind.ts";
import { cacheOf, present, storeKey, thaw, type Core, type Operation } from "./operation.ts";
import { decodePatch, patchWith } from "./patch.ts";
import { conflictError, invalidError, notFoundError } from "./status.ts";
import { updateObject } from "./update.ts";

/** autoscaling/v1 Scale as a window on a kind's replicas. */
const SCALE_KIND = { group: "autoscaling", version: "v1", kind: "Scale" };

export const SCALE_COLUMNS: readonly Column[] = [
  { name: "Name", type: "string", format: "name", cell: ({ metadata }) => metadata.name },
  { name: "Desired", type: "integer", cell: (scale) => getPath(scale, "spec.replicas") ?? 0 },
  { name: "Available", type: "integer", cell: (scale) => getPath(scale, "status.replicas") ?? 0 },
  { name: "Age", type: "string", cell: ({ metadata }, nowMs) => since(metadata.creationTimestamp, nowMs) },
];

export async function getScale(core: Core, op: Operation): Promise<KubeObject> {
  await core.feed.fresh();
  const entry = cacheOf(core, op.kind).entries.get(storeKey(op.kind, op.namespace, op.name));
  if (!entry) throw notFoundError(op.kind, op.name);
  return scaleOf(op.kind, (await present(op.kind, entry)).object);
}

export async function updateScale(core: Core, op: Operation): Promise<KubeObject> {
  const { value } = await decodeBody(op.call.request, "Scale");
  const wanted = assertKind(value, SCALE_KIND);
  return writeScale(core, op, () => wanted);
}

export async function patchScale(core: Core, op: Operation): Promise<KubeObject> {
  const type = mediaType(op.call.request.headers["content-type"]);
  const { value } = await decodePatch(op.call, type);
  const kind = { schema: { type: "object" } } as const;
  return writeScale(core, op, (current) => assertKind(patchWith(kind, type, current, value), SCALE_KIND));
}

async function writeScale(core: Core, op: Operation, make: (current: KubeObject) => KubeObject): Promise<KubeObject> {
  const { kind, name } = op;
  const change = (old: KubeObject | undefined) => {
    const scale = make(scaleOf(kind, old!));
    const { resourceVersion } = scale.metadata;
    if (resourceVersion && resourceVersion !== old!.metadata.resourceVersion) throw conflictError(kind, name);
    const next = thaw(old!);
    setPath(next, kind.strategy.scale!.specReplicas, replicasOf(scale, name));
    return next;
  };
  const updated = await updateObject(core, op, {
    make: change,
    createIfAbsent: false,
    track: true,
    unconditional: false,
  });
  return scaleOf(kind, updated.object);
}

function replicasOf(scale: KubeObject, name: string): number {
  const spec = isObject(scale["spec"]) ? scale["spec"] : {};
  const replicas = spec["replicas"] ?? 0;
  if (Number.isInteger(replicas) && (replicas as number) >= 0) return replicas as number;
  const detail = `Invalid value: ${JSON.stringify(replicas)}: must be greater than or equal to 0`;
  throw invalidError(SCALE_KIND, name, [{ type: "FieldValueInvalid", field: "spec.replicas", detail }]);
}

function scaleOf(kind: Kind, object: KubeObject): KubeObject {
  const paths = kind.strategy.scale as ScalePaths;
  const { name, namespace, uid, resourceVersion, creationTimestamp } = object.metadata;
  const selector = paths.selector === undefined ? undefined : formatSelector(getPath(object, paths.selector));
  const replicas = getPath(object, paths.specReplicas);
  return {
    kind: "Scale",
    apiVersion: "autoscaling/v1",
    metadata: { name, namespace, uid, resourceVersion, creationTimestamp },
    spec: replicas ? { replicas } : {},
    status: { replicas: getPath(object, paths.statusReplicas) ?? 0, ...(selector ? { selector } : {}) },
  };
}

function getPath(object: unknown, path: string): unknown {
  return path.split(".").reduce<unknown>((value, key) => (isObject(value) ? value[key] : undefined), object);
}

function setPath(object: Record<string, unknown>, path: string, value: unknown): void {
  const keys = path.split(".");
  const last = keys.pop()!;
  let target = object;
  for (const key of keys) target = (target[key] ??= {}) as Record<string, unknown>;
  target[last] = value;
}

/** A selector in text, from text, a plain map, or matchLabels and matchExpressions. */
function formatSelector(selector: unknown): string | undefined {
  if (typeof selector === "string") return selector;
  if (!isObject(selector)) return undefined;
  const hasShape = isObject(selector["matchLabels"]) || Array.isArray(selector["matchExpressions"]);
  const labels = (hasShape ? (selector["matchLabels"] ?? {}) : selector) as Record<string, string>;
  const terms = Object.entries(labels).map(([key, value]) => `${key}=${value}`);
  const expressions = (selector["matchExpressions"] ?? []) as Array<{
    key: string;
    operator: string;
    values?: string[];
  }>;
  for (const { key, operator, values = [] } of expressions) {
    if (operator === "Exists") terms.push(key);
    else if (operator === "DoesNotExist") terms.push(`!${key}`);
    else terms.push(`${key} ${operator === "In" ? "in" : "notin"} (${values.toSorted().join(",")})`);
  }
  return terms.toSorted().join(",");
}
