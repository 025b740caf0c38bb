import type { KubeObject } from "../../api/index.ts";
import { assertKind, decodeBody, duplicateFields, isObject, type Decoded } from "./decode.ts";
import type { Kind } from "./kind.ts";
import { normalize } from "./normalize.ts";
import type { Call } from "./pipeline.ts";
import { badRequestError, invalidError } from "./status.ts";

export type FieldValidation = "Strict" | "Warn" | "Ignore";

/** https://kubernetes.io/docs/reference/using-api/api-concepts/#field-validation */
export function fieldValidation(query: URLSearchParams): FieldValidation {
  const mode = query.get("fieldValidation") || "Warn";
  if (mode === "Strict" || mode === "Warn" || mode === "Ignore") return mode;
  const detail = `Unsupported value: ${JSON.stringify(mode)}: supported values: "Ignore", "Strict", "Warn"`;
  const error = { type: "FieldValueNotSupported", field: "fieldValidation", detail } as const;
  throw invalidError({ group: "meta.k8s.io", kind: "CreateOptions" }, "", [error]);
}

/** The body as an object of the kind, with what its types don't know removed and reported. */
export async function decodeObject(call: Call, kind: Kind): Promise<KubeObject> {
  const decoded = await decodeBody(call.request, kind.kind);
  return conform(call, kind, decoded);
}

function conform(call: Call, kind: Kind, { value, keyCount, text, doubled: repeated }: Decoded): KubeObject {
  const mode = fieldValidation(call.request.query);
  // Absent ones are added, and were not in the text.
  const added = ["apiVersion", "kind", "metadata"].filter((key) => isObject(value) && !(key in value)).length;
  const object = assertKind(value, kind);
  const found = normalize(object, kind.schema, kind.custom === true);
  if (found.problem !== undefined) throw cannotBeHandled(kind, found.problem);
  if (mode !== "Ignore") {
    const doubled = text !== undefined && keyCount !== undefined && keyCount > found.keyCount - added;
    const problems = found.unknown.map((path) => `unknown field "${path}"`);
    if (doubled) problems.push(...duplicateFields(text).map((path) => `duplicate field "${path}"`));
    if (repeated !== undefined) problems.push(repeated);
    report(call, kind, mode, problems);
  }
  return object;
}

export function report(call: Call, kind: Kind, mode: FieldValidation, problems: readonly string[]): void {
  if (problems.length === 0) return;
  if (mode === "Strict") throw cannotBeHandled(kind, `strict decoding error: ${problems.join(", ")}`);
  if (mode === "Warn") for (const problem of problems) call.warn(problem);
}

export function cannotBeHandled(kind: Kind, problem: string) {
  return badRequestError(`${kind.kind} in version "${kind.version}" cannot be handled as a ${kind.kind}: ${problem}`);
}
