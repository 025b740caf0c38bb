import type { k8s, KubeObject } from "../../../api/index.ts";
import type { FieldError } from "../../machinery/kind.ts";
import { ageColumn, integer, nameColumn, text } from "../shared/columns.ts";
import { deepEqual, forbidden, immutable, invalid, required, tooLong } from "../shared/field-errors.ts";
import { isConfigMapKey } from "../shared/names.ts";
import type { Peculiarities } from "../shared/peculiarities.ts";

type Secret = k8s.Secret;
const maxSizeBytes = 1024 * 1024;

export const secret: Peculiarities = {
  fillDefaults(object) {
    const it = object as Secret;
    it.type ||= "Opaque";
    if (it.stringData === undefined) return;
    // Write-only: what was given in clear text is stored as data.
    for (const [key, value] of Object.entries(it.stringData))
      (it.data ??= {})[key] = Buffer.from(value).toString("base64");
    delete it.stringData;
  },
  validate,
  validateUpdate: (object, old) => [
    ...immutable("type", (object as Secret).type, (old as Secret).type),
    ...validateFrozen(object as Secret, old as Secret),
    ...validate(object),
  ],
  selectableFields: { type: (object) => (object as Secret).type ?? "" },
  columns: [
    nameColumn,
    text<Secret>("Type", ({ type }) => type ?? ""),
    integer<Secret>("Data", ({ data }) => Object.keys(data ?? {}).length),
    ageColumn,
  ],
};

/** Keys that a Secret of a well-known type must carry. */
const requiredKeys: Readonly<Record<string, readonly string[]>> = {
  "kubernetes.io/dockercfg": [".dockercfg"],
  "kubernetes.io/dockerconfigjson": [".dockerconfigjson"],
  "kubernetes.io/ssh-auth": ["ssh-privatekey"],
  "kubernetes.io/tls": ["tls.crt", "tls.key"],
};

function validate(object: KubeObject): FieldError[] {
  const { data = {}, type = "", metadata } = object as Secret;
  const errors: FieldError[] = [];
  let sizeBytes = 0;
  for (const [key, value] of Object.entries(data)) {
    errors.push(...isConfigMapKey(key).map((detail) => invalid(`data[${key}]`, key, detail)));
    sizeBytes += Buffer.byteLength(value, "base64");
  }
  if (sizeBytes > maxSizeBytes) errors.push(tooLong("data", maxSizeBytes));
  for (const key of requiredKeys[type] ?? []) if (data[key] === undefined) errors.push(required(`data[${key}]`));
  if (type === "kubernetes.io/service-account-token" && !metadata.annotations?.["kubernetes.io/service-account.name"])
    errors.push(required("metadata.annotations[kubernetes.io/service-account.name]"));
  if (type === "kubernetes.io/basic-auth" && data["username"] === undefined && data["password"] === undefined)
    errors.push(required("data[username]"), required("data[password]"));
  errors.push(...validateDockerConfig(type, data));
  return errors;
}

function validateDockerConfig(type: string, data: Readonly<Record<string, string>>): FieldError[] {
  const key = type.startsWith("kubernetes.io/docker") ? requiredKeys[type]?.[0] : undefined;
  if (key === undefined || data[key] === undefined) return [];
  try {
    JSON.parse(Buffer.from(data[key], "base64").toString());
    return [];
  } catch (error) {
    return [invalid(`data[${key}]`, "<secret contents redacted>", (error as Error).message)];
  }
}

function validateFrozen(now: Secret, old: Secret): FieldError[] {
  if (old.immutable !== true) return [];
  const errors: FieldError[] = [];
  if (now.immutable !== true) errors.push(forbidden("immutable", "field is immutable when `immutable` is set"));
  if (!deepEqual(now.data, old.data)) errors.push(forbidden("data", "field is immutable when `immutable` is set"));
  return errors;
}
