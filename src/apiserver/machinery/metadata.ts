import type { KubeObject } from "../../api/index.ts";
import type { FieldError } from "./kind.ts";

const MAX_GENERATED_PREFIX = 58;

/** What of a generateName stands before the five random characters. */
export function generatedPrefix(generateName: string): string {
  return generateName.slice(0, MAX_GENERATED_PREFIX);
}

const invalid = (field: string, value: string, problem: string): FieldError => ({
  type: "FieldValueInvalid",
  field,
  detail: `Invalid value: ${JSON.stringify(value)}: ${problem}`,
});

/** What an update may not touch. */
export function validateMetadataUpdate({ metadata }: KubeObject, old: KubeObject): FieldError[] {
  const errors: FieldError[] = [];
  for (const field of ["name", "namespace", "uid", "creationTimestamp"] as const) {
    if (metadata[field] === old.metadata[field]) continue;
    errors.push(invalid(`metadata.${field}`, metadata[field] ?? "", "field is immutable"));
  }
  if (old.metadata.deletionTimestamp) {
    const before = new Set(old.metadata.finalizers);
    const added = (metadata.finalizers ?? []).filter((name) => !before.has(name));
    if (added.length > 0) {
      const detail = `Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers ${JSON.stringify(added)}`;
      errors.push({ type: "FieldValueForbidden", field: "metadata.finalizers", detail });
    }
  }
  return errors;
}
