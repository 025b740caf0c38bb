import assert from "node:assert/strict";
import { test } from "node:test";

import { Budget } from "../../cel/index.ts";
import type { AdmissionRequest, AuthorizationAttributes } from "../machinery/pipeline.ts";
import { asItIs } from "./equivalents.ts";
import { Expressions } from "./policy-variables.ts";

const request: AdmissionRequest = {
  operation: "CREATE",
  kind: { group: "", version: "v1", kind: "ConfigMap" },
  resource: { group: "", version: "v1", resource: "configmaps" },
  subresource: "",
  name: "x",
  namespace: "default",
  user: { name: "mary", groups: [] },
  dryRun: false,
  options: {},
  object: { metadata: { name: "x" } },
  oldObject: undefined,
  warn: () => {},
  annotate: () => {},
};

test("questions to the authorizers are asked once, and cost what upstream charges, however often the expression is run", async () => {
  const asked: string[] = [];
  const authorizer = {
    async authorize({ verb, user, resource, name }: AuthorizationAttributes) {
      asked.push(`${user.name} ${verb} ${resource} ${name}`.trim());
      return Promise.resolve({ allowed: verb === "get", reason: "says so" });
    },
  };
  const expressions = new Expressions({ request, matched: asItIs(request), authorizers: [authorizer] });
  const budget = new Budget(800_000);
  const may = "authorizer.group('').resource('secrets').check('get')";
  const both = `${may}.allowed() && !authorizer.requestResource.check('delete').allowed()`;
  assert.equal(await expressions.evaluate(both, budget), true);
  assert.ok(budget.taken > 700_000 && !budget.isSpent);
  assert.equal(await expressions.evaluate(`${may}.reason()`), "says so");
  assert.deepEqual(asked, ["mary get secrets", "mary delete configmaps x"]);
  await assert.rejects(expressions.evaluate(`${may}.allowed() == true`, budget), /running out of cost budget/);
});

test("three questions in one expression are too many", async () => {
  const authorizer = { authorize: () => ({ allowed: true }) };
  const expressions = new Expressions({ request, matched: asItIs(request), authorizers: [authorizer] });
  const check = (path: string) => `authorizer.path('${path}').check('get').allowed()`;
  await assert.rejects(
    expressions.evaluate([check("/a"), check("/b"), check("/c")].join(" && ")),
    /^Error: expression '.*' resulted in error: operation cancelled: actual cost limit exceeded$/,
  );
});
