import type { k8s, KubeObject } from "../../../api/index.ts";
import type { FieldError } from "../../machinery/kind.ts";
import { ageColumn, integer, nameColumn } from "../shared/columns.ts";
import { deepEqual, forbidden, invalid, tooLong } from "../shared/field-errors.ts";
import { isConfigMapKey } from "../shared/names.ts";
import type { Peculiarities } from "../shared/peculiarities.ts";

type ConfigMap = k8s.ConfigMap;
const maxSizeBytes = 1024 * 1024;

export const configMap: Peculiarities = {
  shortNames: ["cm"],
  validate,
  validateUpdate: (object, old) => [...validateFrozen(object as ConfigMap, old as ConfigMap), ...validate(object)],
  columns: [nameColumn, integer<ConfigMap>("Data", ({ data, binaryData }) => size(data) + size(binaryData)), ageColumn],
};

const size = (map: object | undefined): number => Object.keys(map ?? {}).length;

function validate(object: KubeObject): FieldError[] {
  const { data = {}, binaryData = {} } = object as ConfigMap;
  const errors: FieldError[] = [];
  let sizeBytes = 0;
  for (const [key, value] of Object.entries(data)) {
    errors.push(...isConfigMapKey(key).map((detail) => invalid(`data[${key}]`, key, detail)));
    if (key in binaryData) errors.push(invalid(`data[${key}]`, key, "duplicate of key present in binaryData"));
    sizeBytes += Buffer.byteLength(value);
  }
  for (const [key, value] of Object.entries(binaryData)) {
    errors.push(...isConfigMapKey(key).map((detail) => invalid(`binaryData[${key}]`, key, detail)));
    sizeBytes += Buffer.byteLength(value, "base64");
  }
  if (sizeBytes > maxSizeBytes) errors.push(tooLong("", maxSizeBytes));
  return errors;
}

function validateFrozen(now: ConfigMap, old: ConfigMap): FieldError[] {
  if (old.immutable !== true) return [];
  const errors: FieldError[] = [];
  if (now.immutable !== true) errors.push(forbidden("immutable", "field is immutable when `immutable` is set"));
  for (const field of ["data", "binaryData"] as const)
    if (!deepEqual(now[field], old[field])) errors.push(forbidden(field, "field is immutable when `immutable` is set"));
  return errors;
}
