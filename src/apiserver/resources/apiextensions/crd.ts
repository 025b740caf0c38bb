import type { k8s, KubeObject } from "../../../api/index.ts";
import type { FieldError } from "../../machinery/kind.ts";
import { createdAtColumn, nameColumn } from "../shared/columns.ts";
import { deepEqual, immutable, invalid, oneOf, required } from "../shared/field-errors.ts";
import { isDns1035Label, isDns1123Subdomain } from "../shared/names.ts";
import type { Peculiarities } from "../shared/peculiarities.ts";

type Definition = k8s.CustomResourceDefinition;
type Spec = k8s.CustomResourceDefinitionSpec;
const cleanupFinalizer = "customresourcecleanup.apiextensions.k8s.io";

/** What the definitions define is served by apiserver/crd. */
export const customResourceDefinition: Peculiarities = {
  shortNames: ["crd", "crds"],
  categories: ["api-extensions"],
  hasGeneration: true,
  fillDefaults(object) {
    const { spec } = object as Definition;
    if (spec?.names === undefined) return;
    spec.names.singular ||= spec.names.kind?.toLowerCase();
    spec.names.listKind ||= spec.names.kind && `${spec.names.kind}List`;
    spec.conversion ??= { strategy: "None" };
    const service = spec.conversion.webhook?.clientConfig?.service;
    if (service !== undefined) service.port ??= 443;
  },
  prepareForCreate(object) {
    const { metadata } = object;
    if (!metadata.finalizers?.includes(cleanupFinalizer))
      metadata.finalizers = [...(metadata.finalizers ?? []), cleanupFinalizer];
    const stored = (object as Definition).spec?.versions?.filter(({ storage }) => storage).map(({ name }) => name);
    object["status"] = { conditions: [], acceptedNames: { plural: "", kind: "" }, storedVersions: stored ?? [] };
  },
  validate: (object) => validate(object),
  validateUpdate: (object, old) => {
    const [now, before] = [(object as Definition).spec, (old as Definition).spec];
    return [
      ...validate(object),
      ...immutable("spec.group", now.group, before.group),
      ...immutable("spec.scope", now.scope, before.scope),
    ];
  },
  validateExpressions: (object, old) => validateSchemaRules(object as Definition, old as Definition | undefined),
  columns: [nameColumn, createdAtColumn],
};

function validate(object: KubeObject): FieldError[] {
  const { spec, metadata } = object as Definition;
  if (spec === undefined) return [required("spec")];
  const errors = validateNames(spec);
  const wanted = `${spec.names?.plural}.${spec.group}`;
  if (metadata.name !== wanted)
    errors.push(invalid("metadata.name", metadata.name, `must be spec.names.plural+"."+spec.group`));
  if (!spec.scope) errors.push(required("spec.scope"));
  else errors.push(...oneOf("spec.scope", spec.scope, ["Cluster", "Namespaced"]));
  return [...errors, ...validateVersions(spec)];
}

function validateNames(spec: Spec): FieldError[] {
  const errors: FieldError[] = [];
  if (!spec.group) errors.push(required("spec.group"));
  else {
    errors.push(...isDns1123Subdomain(spec.group).map((detail) => invalid("spec.group", spec.group, detail)));
    if (!spec.group.includes("."))
      errors.push(invalid("spec.group", spec.group, "should be a domain with at least one dot"));
  }
  const { plural, kind, singular } = spec.names ?? { plural: "", kind: "" };
  if (!plural) errors.push(required("spec.names.plural"));
  else errors.push(...isDns1035Label(plural).map((detail) => invalid("spec.names.plural", plural, detail)));
  if (singular)
    errors.push(...isDns1035Label(singular).map((detail) => invalid("spec.names.singular", singular, detail)));
  if (!kind) errors.push(required("spec.names.kind"));
  else
    errors.push(
      ...isDns1035Label(kind.toLowerCase()).map((detail) =>
        invalid("spec.names.kind", kind, `may have mixed case, but should otherwise match: ${detail}`),
      ),
    );
  return errors;
}

function validateVersions(spec: Spec): FieldError[] {
  const versions = (spec.versions as Spec["versions"] | undefined) ?? [];
  if (versions.length === 0)
    return [invalid("spec.versions", versions, "must have exactly one version marked as storage version")];
  const errors: FieldError[] = [];
  if (versions.filter(({ storage }) => storage).length !== 1)
    errors.push(invalid("spec.versions", versions, "must have exactly one version marked as storage version"));
  for (const [index, version] of versions.entries()) {
    const at = `spec.versions[${index}]`;
    errors.push(...isDns1035Label(version.name).map((detail) => invalid(`${at}.name`, version.name, detail)));
    const schema = version.schema?.openAPIV3Schema;
    if (schema === undefined) errors.push(required(`${at}.schema.openAPIV3Schema`, "schemas are required"));
    else errors.push(...validateStructure(schema, `${at}.schema.openAPIV3Schema`, true));
  }
  return errors;
}

/** Rules that are there already stay, whatever later versions think of them. */
async function validateSchemaRules({ spec }: Definition, old: Definition | undefined): Promise<FieldError[]> {
  const before = new Map(old?.spec.versions.map(({ name, schema }) => [name, schema]));
  const changed = [...spec.versions.entries()].filter(([, { name, schema }]) => !deepEqual(schema, before.get(name)));
  const schemas = changed.flatMap(([index, { schema }]) =>
    schema?.openAPIV3Schema && JSON.stringify(schema).includes("x-kubernetes-validations")
      ? [{ at: `spec.versions[${index}].schema.openAPIV3Schema`, schema: schema.openAPIV3Schema }]
      : [],
  );
  if (schemas.length === 0) return [];
  const { validateRules } = await import("./rules.ts");
  return schemas.flatMap(({ at, schema }) => validateRules(schema, at));
}

/** Structural schemas: every value has a type (https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema). */
function validateStructure(props: k8s.JSONSchemaProps, at: string, isRoot = false): FieldError[] {
  const errors: FieldError[] = [];
  const fields = props as Record<string, unknown>;
  const free = fields["x-kubernetes-int-or-string"] === true || fields["x-kubernetes-preserve-unknown-fields"] === true;
  if (!props.type && !free) errors.push(required(`${at}.type`, "must not be empty for specified object fields"));
  if (isRoot && props.type !== undefined && props.type !== "object")
    errors.push(invalid(`${at}.type`, props.type, "must be object at the root"));
  if (props.type === "array" && props.items === undefined) errors.push(required(`${at}.items`, "must be specified"));
  for (const [name, inner] of Object.entries(props.properties ?? {}))
    errors.push(...validateStructure(inner, `${at}.properties[${name}]`));
  if (props.items !== undefined && !Array.isArray(props.items))
    errors.push(...validateStructure(props.items as k8s.JSONSchemaProps, `${at}.items`));
  if (typeof props.additionalProperties === "object")
    errors.push(...validateStructure(props.additionalProperties, `${at}.additionalProperties`));
  return errors;
}
