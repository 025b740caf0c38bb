import type { KubeObject } from "../../api/index.ts";
import { applyObject } from "./apply/apply.ts";
import { assertTyped } from "./apply/declared.ts";
import { cannotBeHandled, fieldValidation, report } from "./body.ts";
import {
  assertKind,
  decodeBody,
  duplicateFields,
  goType,
  isObject,
  mediaType,
  parseYaml,
  type Decoded,
} from "./decode.ts";
import type { Kind } from "./kind.ts";
import { normalize } from "./normalize.ts";
import { thaw, type Core, type Operation } from "./operation.ts";
import { conversionError } from "./patch/conversion.ts";
import { applyJsonPatch } from "./patch/json-patch.ts";
import { applyMergePatch } from "./patch/merge-patch.ts";
import { applyStrategicMergePatch } from "./patch/strategic-merge-patch.ts";
import type { Call } from "./pipeline.ts";
import { isTrue } from "./request-info.ts";
import { badRequestError, invalidError, unsupportedMediaTypeError } from "./status.ts";
import { updateObject, type UpdateResult } from "./update.ts";

const JSON_PATCH = "application/json-patch+json";
const MERGE = "application/merge-patch+json";
const STRATEGIC = "application/strategic-merge-patch+json";
const APPLY = "application/apply-patch+yaml";

export function acceptedPatches(kind: Kind): string[] {
  return kind.custom ? [JSON_PATCH, MERGE, APPLY] : [JSON_PATCH, MERGE, STRATEGIC, APPLY];
}

/** A patch of a stored object or of one of its update subresources. */
export async function patchObject(core: Core, op: Operation): Promise<UpdateResult> {
  const { kind, call } = op;
  const type = mediaType(call.request.headers["content-type"]);
  if (!acceptedPatches(kind).includes(type)) throw unsupportedMediaTypeError(acceptedPatches(kind));
  if (type === APPLY) return applyPatch(core, op);
  if (call.request.query.has("force") && type !== APPLY) {
    const detail = "Forbidden: may not be specified for non-apply patch";
    throw invalidError({ group: "meta.k8s.io", kind: "PatchOptions" }, "", [
      { type: "FieldValueForbidden", field: "force", detail },
    ]);
  }
  const decoded = await decodePatch(call, type);
  const make = (old: KubeObject | undefined) => {
    const patched = patchWith(kind, type, old!, decoded.value);
    if (!isObject(patched)) throw badRequestError("the patch leaves no object");
    reportPatch(call, kind, type, decoded, patched);
    return assertKind(patched, kind);
  };
  return updateObject(core, op, { make, createIfAbsent: false, track: true, unconditional: false });
}

/** The pure part: what a patch makes of an object. */
export function patchWith(kind: Pick<Kind, "schema">, type: string, old: object, patch: unknown): unknown {
  if (type === JSON_PATCH) return applyJsonPatch(old, patch);
  if (!isObject(patch)) {
    const problem = `json: cannot unmarshal ${goType(patch)} into Go value of type map[string]interface {}`;
    throw badRequestError(type === MERGE ? `error decoding patch: ${problem}` : problem);
  }
  if (type === MERGE) return applyMergePatch(old, patch);
  return applyStrategicMergePatch(old as Record<string, unknown>, patch, kind.schema);
}

export async function decodePatch(call: Call, type: string): Promise<Decoded> {
  const { object, body, headers } = call.request;
  if (object !== undefined) return { value: thaw(object), keyCount: undefined, text: undefined };
  return decodeBody({ ...call.request, body, headers: { ...headers, "content-type": "application/json" } }, type);
}

/** Unknown fields are told of the outcome, duplicates of the patch. */
function reportPatch(
  call: Call,
  kind: Kind,
  type: string,
  { text, value }: Decoded,
  patched: Record<string, unknown>,
): void {
  const mode = fieldValidation(call.request.query);
  const found = normalize(patched, kind.schema, kind.custom === true);
  if (found.mismatch !== undefined && type === STRATEGIC) throw conversionError(value, found.mismatch);
  if (found.problem !== undefined) throw cannotBeHandled(kind, found.problem);
  if (mode === "Ignore") return;
  const problems = found.unknown.map((path) => `unknown field "${path}"`);
  if (text !== undefined) problems.push(...duplicateFields(text).map((path) => `duplicate field "${path}"`));
  report(call, kind, mode, problems);
}

function reportDoubled(call: Call, doubled: string): void {
  const mode = fieldValidation(call.request.query);
  if (mode === "Strict") throw badRequestError(`error strict decoding YAML: error converting YAML to JSON: ${doubled}`);
  if (mode === "Warn") call.warn(`error converting YAML to JSON: ${doubled}`);
}

async function applyPatch(core: Core, op: Operation): Promise<UpdateResult> {
  const { call, kind } = op;
  const { query, body = new Uint8Array(0), object } = call.request;
  if (!query.get("fieldManager")) {
    const detail = "Required value: is required for apply patch";
    throw invalidError({ group: "meta.k8s.io", kind: "PatchOptions" }, "", [
      { type: "FieldValueRequired", field: "fieldManager", detail },
    ]);
  }
  const decoded: Decoded =
    object === undefined
      ? await parseYaml(body, kind.kind)
      : { value: thaw(object), keyCount: undefined, text: undefined };
  if (decoded.doubled !== undefined) reportDoubled(call, decoded.doubled);
  const applied = assertKind(decoded.value, kind);
  assertTyped(kind, applied);
  const { problem } = normalize(applied, kind.schema, kind.custom === true);
  if (problem !== undefined) throw cannotBeHandled(kind, problem);
  if (applied.metadata.managedFields) throw badRequestError("metadata.managedFields must be nil");
  const force = isTrue(query.get("force") ?? "false");
  applied.metadata.name ||= op.name;
  if (kind.namespaced) applied.metadata.namespace ||= op.namespace;
  const make = (old: KubeObject | undefined) =>
    // What the configuration does not mention is shared with the frozen old object.
    thaw(applyObject(kind, old, applied, op, { force, nowMs: core.clock.nowMs() }));
  return updateObject(core, op, { make, createIfAbsent: true, track: false, unconditional: false });
}
