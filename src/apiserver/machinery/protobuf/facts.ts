import { readFileSync } from "node:fs";

/** Kubernetes' protobuf messages: what scripts/generate-protobuf-facts.ts took from upstream's generated.proto files. */
export interface Field {
  /** As in JSON. */
  readonly name: string;
  readonly number: number;
  readonly kind: "one" | "repeated" | "map" | "embedded";
  /** A scalar's letter or a message's name. */
  readonly type: string;
}
export interface Message {
  readonly fields: readonly Field[];
  readonly byNumber: ReadonlyMap<number, Field>;
}

export const PROTOBUF = "application/vnd.kubernetes.protobuf";
/** What a body begins with. https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding */
export const MAGIC = Buffer.from("k8s\0");
export const META = "apimachinery.pkg.apis.meta.v1";
export const UNKNOWN = "apimachinery.pkg.runtime.Unknown";

/** Messages whose JSON isn't an object of their fields, by the last part of their names. */
export type Special =
  | "Quantity"
  | "IntOrString"
  | "Time"
  | "MicroTime"
  | "Duration"
  | "FieldsV1"
  | "RawExtension"
  | "JSON"
  | "ExtraValue"
  | "Verbs"
  | "JSONSchemaPropsOrArray"
  | "JSONSchemaPropsOrBool"
  | "JSONSchemaPropsOrStringArray";

/** Fields that JSON names otherwise. */
const JSON_NAMES: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  JSONSchemaProps: {
    schema: "$schema",
    ref: "$ref",
    xKubernetesPreserveUnknownFields: "x-kubernetes-preserve-unknown-fields",
    xKubernetesEmbeddedResource: "x-kubernetes-embedded-resource",
    xKubernetesIntOrString: "x-kubernetes-int-or-string",
    xKubernetesListMapKeys: "x-kubernetes-list-map-keys",
    xKubernetesListType: "x-kubernetes-list-type",
    xKubernetesMapType: "x-kubernetes-map-type",
    xKubernetesValidations: "x-kubernetes-validations",
  },
  MutatingWebhookConfiguration: { Webhooks: "webhooks" },
  ValidatingWebhookConfiguration: { Webhooks: "webhooks" },
  Validation: { Expression: "expression" },
  Variable: { Expression: "expression", Name: "name" },
  IngressClassParametersReference: { aPIGroup: "apiGroup" },
};
const KINDS = { "*": "repeated", "%": "map", "~": "embedded" } as const;

let facts: Record<string, string> | undefined;
const messages = new Map<string, Message | undefined>();

/** Undefined when upstream has no such message. */
export function messageOf(name: string): Message | undefined {
  if (messages.has(name)) return messages.get(name);
  facts ??= JSON.parse(readFileSync(new URL("./facts.generated.json", import.meta.url), "utf8")) as Record<
    string,
    string
  >;
  const text = Object.hasOwn(facts, name) ? facts[name] : undefined;
  const message = text === undefined ? undefined : parseMessage(name, text);
  // Only what upstream has is remembered: the names come from clients.
  if (message) messages.set(name, message);
  return message;
}

function parseMessage(name: string, text: string): Message {
  const names = JSON_NAMES[lastPart(name)] ?? {};
  const fields = text
    .split(" ")
    .filter(Boolean)
    .map((field): Field => {
      const [, own = "", number, mark = "", type = ""] = /^(\w+)=(\d+):([*%~]?)(.+)$/.exec(field) ?? [];
      const kind = mark === "" ? "one" : KINDS[mark as "*"];
      return { name: names[own] ?? own, number: Number(number), kind, type };
    });
  return { fields, byNumber: new Map(fields.map((field) => [field.number, field])) };
}

export const lastPart = (name: string): string => name.slice(name.lastIndexOf(".") + 1);

/** The message of a kind. */
export function messageName(apiVersion: string, kind: string): string {
  const [group, version] = apiVersion.includes("/")
    ? (apiVersion.split("/") as [string, string])
    : ["core", apiVersion];
  if (group === "meta.k8s.io") return `apimachinery.pkg.apis.meta.${kind.endsWith("List") ? version : "v1"}.${kind}`;
  if (/^((Delete|Create|Update|Patch|List|Get)Options|Status|API(GroupList|Group|ResourceList|Versions))$/.test(kind))
    return `${META}.${kind}`;
  const folder = `${group.split(".")[0]}.${version}.${kind}`;
  if (group === "apiextensions.k8s.io") return `apiextensions_apiserver.pkg.apis.${folder}`;
  return group === "apiregistration.k8s.io" ? `kube_aggregator.pkg.apis.${folder}` : `api.${folder}`;
}
