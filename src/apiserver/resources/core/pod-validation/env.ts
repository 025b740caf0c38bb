import type { k8s } from "../../../../api/index.ts";
import type { FieldError } from "../../../machinery/kind.ts";
import { each, named, requiredName, unreservedPath } from "../../shared/checks.ts";
import { invalid, required } from "../../shared/field-errors.ts";
import { isConfigMapKey, isDns1123Subdomain, isEnvVarName } from "../../shared/names.ts";
import { envFieldPaths, validateFieldRef, validateResourceFieldRef } from "./downward.ts";

export const validateEnv = (variables: readonly k8s.EnvVar[] | undefined, at: string): FieldError[] =>
  each(variables, at, (variable, here) => [
    ...requiredName(`${here}.name`, variable.name, isEnvVarName),
    ...validateValueFrom(variable, `${here}.valueFrom`),
  ]);

const validateKeyRef = (ref: { name?: string; key: string }, at: string): FieldError[] => [
  ...named(`${at}.name`, ref.name ?? "", isDns1123Subdomain),
  ...requiredName(`${at}.key`, ref.key, isConfigMapKey),
];

function validateValueFrom({ value, valueFrom }: k8s.EnvVar, at: string): FieldError[] {
  if (valueFrom === undefined) return [];
  const { fieldRef, resourceFieldRef, configMapKeyRef, secretKeyRef, fileKeyRef } = valueFrom;
  const count = [fieldRef, resourceFieldRef, configMapKeyRef, secretKeyRef, fileKeyRef].filter(Boolean).length;
  const errors: FieldError[] = [];
  if (fieldRef) errors.push(...validateFieldRef(fieldRef, envFieldPaths, `${at}.fieldRef`));
  if (resourceFieldRef) errors.push(...validateResourceFieldRef(resourceFieldRef, `${at}.resourceFieldRef`, false));
  if (configMapKeyRef) errors.push(...validateKeyRef(configMapKeyRef, `${at}.configMapKeyRef`));
  if (secretKeyRef) errors.push(...validateKeyRef(secretKeyRef, `${at}.secretKeyRef`));
  if (fileKeyRef) errors.push(...validateFileKeyRef(fileKeyRef, `${at}.fileKeyRef`));
  if (count === 0)
    errors.push(
      invalid(at, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"),
    );
  else if (value) errors.push(invalid(at, "", "may not be specified when `value` is not empty"));
  else if (count > 1) errors.push(invalid(at, "", "may not have more than one field specified at a time"));
  return errors;
}

const validateFileKeyRef = (ref: k8s.FileKeySelector, at: string): FieldError[] => [
  ...requiredName(`${at}.key`, ref.key, isEnvVarName),
  ...requiredName(`${at}.volumeName`, ref.volumeName, () => []),
  ...(ref.path ? unreservedPath(`${at}.path`, ref.path) : [required(`${at}.path`)]),
];

/** How many sources there are is said of the list, not of its entry, as upstream does. */
export const validateEnvFrom = (sources: readonly k8s.EnvFromSource[] | undefined, at: string): FieldError[] =>
  each(sources, at, (source, here) => {
    const errors = source.prefix ? named(`${here}.prefix`, source.prefix, isEnvVarName) : [];
    const prefixed = (name: string) => isDns1123Subdomain(name, true);
    if (source.configMapRef)
      errors.push(...requiredName(`${here}.configMapRef.name`, source.configMapRef.name, prefixed));
    if (source.secretRef) errors.push(...requiredName(`${here}.secretRef.name`, source.secretRef.name, prefixed));
    if (!source.configMapRef && !source.secretRef)
      errors.push(invalid(at, "", "must specify one of: `configMapRef` or `secretRef`"));
    else if (source.configMapRef && source.secretRef)
      errors.push(invalid(at, "", "may not have more than one field specified at a time"));
    return errors;
  });
