import type { k8s, KubeObject } from "../../api/index.ts";
import type { Conversion, FieldError, Kind, Strategy } from "../machinery/kind.ts";
import { isDns1123Subdomain } from "../resources/shared/names.ts";
import { validateObjectMeta } from "../resources/shared/object-meta.ts";
import { keepOtherHalf } from "../resources/shared/status.ts";
import { schemaNamed } from "../schema/facts.ts";
import { printerColumns } from "./columns.ts";
import { compileJsonPath } from "./json-path.ts";
import { applyDefaults, rootSchemaOf } from "./structural.ts";
import { validateValue } from "./validate.ts";

type Definition = k8s.CustomResourceDefinition;
type Version = k8s.CustomResourceDefinitionVersion;
type Props = k8s.JSONSchemaProps;

const verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/** One Kind for each served version of a definition: from here on, custom resources are like any other. */
export function kindsOf(definition: Definition, conversionTo: (version: string) => Conversion | undefined): Kind[] {
  const { spec, status } = definition;
  const storageVersion = spec.versions.find(({ storage }) => storage)!.name;
  const names = status?.acceptedNames ?? spec.names;
  /** Objects that were stored before another version became the stored one are still as they were. */
  const isStoredAs = (name: string) => [storageVersion, ...(status?.storedVersions ?? [])].every((one) => one === name);
  return spec.versions
    .filter(({ served }) => served)
    .map((version) => ({
      group: spec.group,
      version: version.name,
      kind: names.kind,
      listKind: names.listKind ?? `${names.kind}List`,
      plural: names.plural,
      singular: names.singular ?? names.kind.toLowerCase(),
      shortNames: names.shortNames ?? [],
      categories: names.categories ?? [],
      namespaced: spec.scope === "Namespaced",
      verbs,
      schema: rootSchemaOf(
        version.schema?.openAPIV3Schema,
        schemaNamed("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")!,
      ),
      strategy: {
        ...strategyOf(version, spec.scope === "Namespaced"),
        deprecation: deprecationOf(definition, version),
      },
      storageVersion,
      conversion: defaulting(version, isStoredAs(version.name) ? undefined : conversionTo(version.name)),
      custom: true,
    }));
}

function deprecationOf({ spec }: Definition, { name, deprecated, deprecationWarning }: Version): string | undefined {
  return deprecated ? (deprecationWarning ?? `${spec.group}/${name} ${spec.names.kind} is deprecated`) : undefined;
}

function strategyOf(version: Version, namespaced: boolean): Strategy {
  const props = withoutMetadata(version.schema?.openAPIV3Schema);
  const hasStatus = version.subresources?.status !== undefined;
  const scale = version.subresources?.scale;
  const trim = (path: string) => path.replace(/^\./, "");
  return {
    hasStatus,
    hasGeneration: true,
    allowUnconditionalUpdate: false,
    defaultPropagation: "Background",
    columns: printerColumns(version.additionalPrinterColumns),
    scale: scale && {
      specReplicas: trim(scale.specReplicasPath),
      statusReplicas: trim(scale.statusReplicasPath),
      selector: scale.labelSelectorPath === undefined ? undefined : trim(scale.labelSelectorPath),
    },
    selectableFields: selectableFields(version),
    fillDefaults: (object) => applyDefaults(object, props),
    prepareForCreate(object) {
      if (hasStatus) delete object["status"];
    },
    prepareForUpdate(object, old, context) {
      if (hasStatus) keepOtherHalf(object, old, context);
    },
    validate: (object) => validate(object, props, namespaced),
    validateUpdate: (object) => validate(object, props, namespaced),
    validateExpressions: hasRules(props)
      ? async (object, old) => (await import("./rules.ts")).validateRules(object, old, props, "")
      : undefined,
  };
}

/** What was stored before the schema had its defaults has them when it is read, as upstream. */
function defaulting(version: Version, conversion: Conversion | undefined): Conversion | undefined {
  const props = withoutMetadata(version.schema?.openAPIV3Schema);
  if (!hasDefaults(props)) return conversion;
  return {
    toStorage: (objects) => conversion?.toStorage(objects) ?? objects,
    async fromStorage(objects) {
      const converted = (await conversion?.fromStorage(objects)) ?? objects;
      return converted.map((object) => {
        const copy = structuredClone(object);
        applyDefaults(copy, props);
        return copy;
      });
    },
  };
}

/** Whether a schema or one within it says something. */
function anywhere(props: Props | undefined, says: (props: Props) => boolean): boolean {
  if (props === undefined) return false;
  const { properties = {}, additionalProperties, items } = props;
  const inner = [...Object.values(properties), additionalProperties, items];
  return says(props) || inner.some((each) => typeof each === "object" && anywhere(each as Props, says));
}

const hasDefaults = (props: Props | undefined): boolean => anywhere(props, (each) => each.default !== undefined);
const hasRules = (props: Props | undefined): boolean =>
  anywhere(props, (each) => (each as Record<string, unknown>)["x-kubernetes-validations"] !== undefined);

/** Metadata has rules of its own; a schema may only narrow name and generateName. */
function withoutMetadata(props: Props | undefined): Props | undefined {
  if (props?.properties === undefined) return props;
  const { apiVersion: _apiVersion, kind: _kind, ...properties } = props.properties;
  return { ...props, properties };
}

const validate = (object: KubeObject, props: Props | undefined, namespaced: boolean): FieldError[] => [
  ...validateObjectMeta(object, namespaced, isDns1123Subdomain),
  ...validateValue(object, props, ""),
];

function selectableFields({ selectableFields: declared = [] }: Version): Strategy["selectableFields"] {
  return Object.fromEntries(
    declared.map(({ jsonPath }) => {
      const read = compileJsonPath(jsonPath);
      return [jsonPath.replace(/^\./, ""), (object: KubeObject) => textOf(read(object)[0])] as const;
    }),
  );
}

const textOf = (value: unknown): string =>
  typeof value === "string" ? value : value === undefined || value === null ? "" : JSON.stringify(value);
