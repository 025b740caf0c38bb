import type { k8s } from "../../../api/index.ts";
import { GROUP } from "./types.ts";

type Schema = k8s.JSONSchemaProps;

const text = (more: Schema = {}): Schema => ({ type: "string", ...more });
const port: Schema = { type: "integer", format: "int32", minimum: 1, maximum: 65_535 };
const list = (items: Schema, more: Schema = {}): Schema => ({ type: "array", items, ...more });
const anything: Schema = { type: "object", "x-kubernetes-preserve-unknown-fields": true };
/** Fields of the experimental channel are kept as they are. kubectl refuses what is not listed, so everything of the standard one is. */
const object = (properties: Record<string, Schema>, required: string[] = []): Schema => ({
  type: "object",
  properties,
  ...(required.length > 0 && { required }),
  "x-kubernetes-preserve-unknown-fields": true,
});
const named = (properties: Record<string, Schema>): Schema =>
  object(
    { group: text(), kind: text(), name: text({ minLength: 1, maxLength: 253 }), namespace: text(), ...properties },
    ["name"],
  );

const listener = object(
  {
    name: text({ minLength: 1, maxLength: 253 }),
    hostname: text({ minLength: 1, maxLength: 253 }),
    port,
    protocol: text({ minLength: 1, maxLength: 255 }),
    tls: object({
      mode: text({ enum: ["Terminate", "Passthrough"], default: "Terminate" }),
      certificateRefs: list(named({}), { maxItems: 64 }),
      options: anything,
    }),
    allowedRoutes: object({
      namespaces: object({
        from: text({ enum: ["All", "Selector", "Same", "None"], default: "Same" }),
        selector: anything,
      }),
      kinds: list(object({ group: text(), kind: text() }, ["kind"]), { maxItems: 8 }),
    }),
  },
  ["name", "port", "protocol"],
);
const pathModifier = object(
  {
    type: text({ enum: ["ReplaceFullPath", "ReplacePrefixMatch"] }),
    replaceFullPath: text({ maxLength: 1024 }),
    replacePrefixMatch: text({ maxLength: 1024 }),
  },
  ["type"],
);
const header = object({ name: text({ minLength: 1 }), value: text() }, ["name", "value"]);
const headerModifier = object({
  set: list(header, { maxItems: 16 }),
  add: list(header, { maxItems: 16 }),
  remove: list(text(), { maxItems: 16 }),
});
const valueMatch = object(
  { type: text({ enum: ["Exact", "RegularExpression"], default: "Exact" }), name: text(), value: text() },
  ["name", "value"],
);
const METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
const count: Schema = { type: "integer", format: "int32", minimum: 0 };
const filters = list(
  object(
    {
      type: text({
        enum: [
          "RequestHeaderModifier",
          "ResponseHeaderModifier",
          "RequestMirror",
          "RequestRedirect",
          "URLRewrite",
          "ExtensionRef",
        ],
      }),
      requestHeaderModifier: headerModifier,
      responseHeaderModifier: headerModifier,
      extensionRef: named({}),
      requestRedirect: object({
        hostname: text(),
        scheme: text({ enum: ["http", "https"] }),
        statusCode: { type: "integer", enum: [301, 302, 303, 307, 308], default: 302 },
        path: pathModifier,
        port,
      }),
      urlRewrite: object({ hostname: text(), path: pathModifier }),
      requestMirror: object(
        {
          backendRef: named({ port }),
          percent: { type: "integer", format: "int32", minimum: 0, maximum: 100 },
          fraction: object({ numerator: count, denominator: { ...count, minimum: 1, default: 100 } as Schema }, [
            "numerator",
          ]),
        },
        ["backendRef"],
      ),
    },
    ["type"],
  ),
  { maxItems: 16 },
);
const backendRefs = list(
  named({
    port,
    weight: { type: "integer", format: "int32", minimum: 0, maximum: 1_000_000, default: 1 },
    filters,
  }),
  { maxItems: 16 },
);
const rule = object({
  name: text({ maxLength: 253 }),
  timeouts: object({ request: text(), backendRequest: text() }),
  matches: list(
    object({
      path: object({
        type: text({ enum: ["Exact", "PathPrefix", "RegularExpression"], default: "PathPrefix" }),
        value: text({ maxLength: 1024, default: "/" }),
      }),
      headers: list(valueMatch, { maxItems: 16 }),
      queryParams: list(valueMatch, { maxItems: 16 }),
      method: text({ enum: METHODS }),
    }),
    { maxItems: 64 },
  ),
  filters,
  backendRefs,
});

const grpcRule = object({
  name: text({ maxLength: 253 }),
  matches: list(
    object({
      method: object({
        type: text({ enum: ["Exact", "RegularExpression"], default: "Exact" }),
        service: text({ maxLength: 1024 }),
        method: text({ maxLength: 1024 }),
      }),
      headers: list(valueMatch, { maxItems: 16 }),
    }),
    { maxItems: 64 },
  ),
  filters,
  backendRefs,
});
const parentRefs = list(named({ sectionName: text(), port }), { maxItems: 32 });
const hostnames = list(text({ minLength: 1, maxLength: 253 }), { maxItems: 16 });

const column = (name: string, jsonPath: string, type = "string") => ({ name, type, jsonPath });
const age = column("Age", ".metadata.creationTimestamp", "date");
const accepted = '.status.conditions[?(@.type=="Accepted")].status';
const programmed = '.status.conditions[?(@.type=="Programmed")].status';

/** The resources of the standard channel that are served here. A cluster that has others' definitions of them keeps those. */
export function gatewayDefinitions(): k8s.CustomResourceDefinition[] {
  return [
    definition("GatewayClass", "gatewayclasses", "gc", ["v1", "v1beta1"], {
      scope: "Cluster",
      spec: object(
        { controllerName: text({ minLength: 1, maxLength: 253 }), description: text(), parametersRef: named({}) },
        ["controllerName"],
      ),
      columns: [column("Controller", ".spec.controllerName"), column("Accepted", accepted), age],
    }),
    definition("Gateway", "gateways", "gtw", ["v1", "v1beta1"], {
      spec: object(
        {
          gatewayClassName: text({ minLength: 1 }),
          listeners: list(listener, { minItems: 1, maxItems: 64 }),
          addresses: list(object({ type: text({ default: "IPAddress" }), value: text({ maxLength: 253 }) }), {
            maxItems: 16,
          }),
          infrastructure: anything,
        },
        ["gatewayClassName", "listeners"],
      ),
      columns: [
        column("Class", ".spec.gatewayClassName"),
        column("Address", ".status.addresses[*].value"),
        column("Programmed", programmed),
        age,
      ],
    }),
    definition("HTTPRoute", "httproutes", "", ["v1", "v1beta1"], {
      spec: object({
        parentRefs,
        hostnames,
        rules: list(rule, {
          maxItems: 16,
          default: [{ matches: [{ path: { type: "PathPrefix", value: "/" } }] }],
        } as unknown as Schema),
      }),
      columns: [column("Hostnames", ".spec.hostnames"), age],
    }),
    definition("GRPCRoute", "grpcroutes", "", ["v1"], {
      spec: object({ parentRefs, hostnames, rules: list(grpcRule, { maxItems: 16 }) }),
      columns: [column("Hostnames", ".spec.hostnames"), age],
    }),
    definition("ReferenceGrant", "referencegrants", "refgrant", ["v1beta1"], {
      spec: object(
        {
          from: list(object({ group: text(), kind: text(), namespace: text() }, ["group", "kind", "namespace"]), {
            minItems: 1,
          }),
          to: list(object({ group: text(), kind: text(), name: text() }, ["group", "kind"]), { minItems: 1 }),
        },
        ["from", "to"],
      ),
      columns: [age],
    }),
  ];
}

function definition(
  kind: string,
  plural: string,
  shortName: string,
  versions: readonly string[],
  { scope = "Namespaced", spec, columns }: { scope?: string; spec: Schema; columns: object[] },
): k8s.CustomResourceDefinition {
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: {
      name: `${plural}.${GROUP}`,
      // The group is protected: definitions in it name the change by which they were agreed on.
      annotations: { "api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/gateway-api/pull/3328" },
    },
    spec: {
      group: GROUP,
      scope,
      names: {
        kind,
        plural,
        singular: kind.toLowerCase(),
        listKind: `${kind}List`,
        categories: ["gateway-api"],
        ...(shortName && { shortNames: [shortName] }),
      },
      versions: versions.map((name, index) => ({
        name,
        served: true,
        storage: index === 0,
        subresources: { status: {} },
        additionalPrinterColumns: columns,
        schema: {
          openAPIV3Schema: {
            type: "object",
            required: ["spec"],
            properties: { spec, status: { type: "object", "x-kubernetes-preserve-unknown-fields": true } },
          },
        },
      })),
    },
  } as unknown as k8s.CustomResourceDefinition;
}
