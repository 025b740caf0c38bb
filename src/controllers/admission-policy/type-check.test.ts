import assert from "node:assert/strict";
import { test } from "node:test";

import { KubeClient } from "../../client/index.ts";
import { PublishedSchemas } from "./schemas.ts";
import { typeCheck } from "./type-check.ts";

const components = {
  schemas: {
    "apps.Deployment": {
      type: "object",
      "x-kubernetes-group-version-kind": [{ group: "apps", version: "v1", kind: "Deployment" }],
      properties: {
        metadata: { allOf: [{ $ref: "#/components/schemas/Meta" }] },
        spec: { $ref: "#/components/schemas/Spec" },
      },
    },
    Meta: {
      type: "object",
      properties: {
        name: { type: "string" },
        generateName: { type: "string" },
        labels: { type: "object", additionalProperties: { type: "string" } },
      },
    },
    Spec: {
      type: "object",
      properties: { replicas: { type: "integer" }, again: { $ref: "#/components/schemas/Spec" } },
    },
  },
};
const documents: Record<string, unknown> = {
  "/apis/apps/v1": { resources: [{ name: "deployments", kind: "Deployment" }] },
  "/openapi/v3/apis/apps/v1": { components },
};
const client = new KubeClient(({ path }) => {
  const object = documents[path];
  return Promise.resolve({ status: object === undefined ? 404 : 200, headers: {}, object: object ?? {} } as never);
});
const warnings = (spec: object) =>
  typeCheck({ metadata: { name: "p" }, spec } as never, new PublishedSchemas(client, new AbortController().signal));
const rule = (apiGroups: string[], resources: string[]) => ({
  apiGroups,
  apiVersions: ["v1"],
  operations: ["*"],
  resources,
});

test("a field that the kind does not have is warned of in upstream's form", async () => {
  const matchConstraints = { resourceRules: [rule(["apps"], ["deployments", "deployments/scale"])] };
  assert.deepEqual(await warnings({ matchConstraints, validations: [{ expression: "object.replicas > 1" }] }), [
    {
      fieldRef: "spec.validations[0].expression",
      warning:
        "apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'replicas'\n | object.replicas > 1\n | ......^\n",
    },
  ]);
  const variables = [{ name: "count", expression: "object.spec.replicas" }];
  const validations = [{ expression: "variables.count > 1 && object.metadata.labels['a'] == 'b'" }];
  assert.deepEqual(await warnings({ matchConstraints, variables, validations }), []);
  const mixed = [{ expression: "true", messageExpression: "'more than ' + variables.count" }];
  assert.match((await warnings({ matchConstraints, variables, validations: mixed }))[0]!.warning, /'\(string, int\)'/);
});

test("wildcards and kinds that nobody serves say nothing of types", async () => {
  const validations = [{ expression: "object.nothing == 1" }];
  for (const given of [rule(["*"], ["deployments"]), rule(["nobody"], ["deployments"]), rule(["apps"], ["*"])])
    assert.deepEqual(await warnings({ matchConstraints: { resourceRules: [given] }, validations }), []);
});
