import type { KubeObject } from "../../../api/index.ts";
import type { FieldError } from "../../machinery/kind.ts";
import { forbidden, invalid, required, tooLong } from "./field-errors.ts";
import { isDns1123Label, isLabelValue, isQualifiedName } from "./names.ts";
import type { NameCheck } from "./names.ts";

const maxAnnotationBytes = 256 * 1024;

/** Upstream's ValidateObjectMeta: what holds for the metadata of every kind. */
export function validateObjectMeta(object: KubeObject, namespaced: boolean, checkName: NameCheck): FieldError[] {
  const meta = object.metadata;
  const errors: FieldError[] = [];
  if (meta.generateName)
    errors.push(
      ...checkName(meta.generateName, true).map((detail) =>
        invalid("metadata.generateName", meta.generateName, detail),
      ),
    );
  if (!meta.name) errors.push(required("metadata.name", "name or generateName is required"));
  else errors.push(...checkName(meta.name).map((detail) => invalid("metadata.name", meta.name, detail)));
  if (namespaced) {
    if (!meta.namespace) errors.push(required("metadata.namespace"));
    else
      errors.push(
        ...isDns1123Label(meta.namespace).map((detail) => invalid("metadata.namespace", meta.namespace, detail)),
      );
  } else if (meta.namespace) {
    errors.push(forbidden("metadata.namespace", "not allowed on this type"));
  }
  errors.push(...validateLabels(meta.labels, "metadata.labels"));
  errors.push(...validateAnnotations(meta.annotations, "metadata.annotations"));
  errors.push(...validateOwnerReferences(object));
  for (const [index, name] of (meta.finalizers ?? []).entries())
    errors.push(...isQualifiedName(name).map((detail) => invalid(`metadata.finalizers[${index}]`, name, detail)));
  return errors;
}

export function validateLabels(labels: Readonly<Record<string, string>> | undefined, field: string): FieldError[] {
  return Object.entries(labels ?? {}).flatMap(([key, value]) => [
    ...isQualifiedName(key).map((detail) => invalid(field, key, detail)),
    ...isLabelValue(value).map((detail) => invalid(field, value, detail)),
  ]);
}

export function validateAnnotations(
  annotations: Readonly<Record<string, string>> | undefined,
  field: string,
): FieldError[] {
  let sizeBytes = 0;
  const errors: FieldError[] = [];
  for (const [key, value] of Object.entries(annotations ?? {})) {
    errors.push(...isQualifiedName(key.toLowerCase()).map((detail) => invalid(field, key, detail)));
    sizeBytes += Buffer.byteLength(key) + Buffer.byteLength(value);
  }
  if (sizeBytes > maxAnnotationBytes) errors.push(tooLong(field, maxAnnotationBytes));
  return errors;
}

function validateOwnerReferences(object: KubeObject): FieldError[] {
  const field = "metadata.ownerReferences";
  const errors: FieldError[] = [];
  let controller: string | undefined;
  for (const owner of object.metadata.ownerReferences ?? []) {
    if (!owner.apiVersion)
      errors.push(invalid(`${field}.apiVersion`, owner.apiVersion ?? "", "version must not be empty"));
    if (!owner.kind) errors.push(invalid(`${field}.kind`, owner.kind ?? "", "must not be empty"));
    if (!owner.name) errors.push(invalid(`${field}.name`, owner.name ?? "", "must not be empty"));
    if (!owner.uid) errors.push(invalid(`${field}.uid`, owner.uid ?? "", "must not be empty"));
    if (owner.controller !== true) continue;
    if (controller !== undefined) {
      const detail = `Only one reference can have Controller set to true. Found "true" in references for ${controller} and ${owner.kind}/${owner.name}`;
      errors.push(invalid(field, object.metadata.ownerReferences, detail));
    }
    controller = `${owner.kind}/${owner.name}`;
  }
  return errors;
}

/** What label and node selectors have in common: operators of sets, and how many values they take. */
export function validateSetOperator(operator: string | undefined, values: readonly string[], at: string): FieldError[] {
  if (operator === "In" || operator === "NotIn")
    return values.length > 0 ? [] : [required(`${at}.values`, "must be specified when `operator` is 'In' or 'NotIn'")];
  if (operator === "Exists" || operator === "DoesNotExist")
    return values.length === 0
      ? []
      : [forbidden(`${at}.values`, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")];
  return [invalid(`${at}.operator`, operator ?? "", "not a valid selector operator")];
}

/** Upstream's ValidateLabelSelector. */
export function validateLabelSelector(
  selector: { matchLabels?: Record<string, string>; matchExpressions?: readonly SelectorRequirement[] } | undefined,
  field: string,
): FieldError[] {
  if (selector === undefined) return [];
  const errors = validateLabels(selector.matchLabels, `${field}.matchLabels`);
  for (const [index, { key, operator, values = [] }] of (selector.matchExpressions ?? []).entries()) {
    const at = `${field}.matchExpressions[${index}]`;
    errors.push(...validateSetOperator(operator, values, at));
    errors.push(...isQualifiedName(key).map((detail) => invalid(`${at}.key`, key, detail)));
    for (const [position, value] of values.entries())
      errors.push(...isLabelValue(value).map((detail) => invalid(`${at}.values[${position}]`, value, detail)));
  }
  return errors;
}

interface SelectorRequirement {
  key: string;
  operator: string;
  values?: string[];
}

export interface Selector {
  matchLabels?: Record<string, string>;
  matchExpressions?: SelectorRequirement[];
}

/** Whether the labels are selected. An undefined selector selects nothing, an empty one everything. */
export function selects(selector: Selector | undefined, labels: Readonly<Record<string, string>> | undefined): boolean {
  if (selector === undefined) return false;
  const have = labels ?? {};
  const pairs = Object.entries(selector.matchLabels ?? {});
  if (pairs.some(([key, value]) => have[key] !== value)) return false;
  return (selector.matchExpressions ?? []).every(({ key, operator, values = [] }) => {
    const value = have[key];
    if (operator === "In") return value !== undefined && values.includes(value);
    if (operator === "NotIn") return value === undefined || !values.includes(value);
    return operator === "Exists" ? value !== undefined : operator === "DoesNotExist" && value === undefined;
  });
}
