import assert from "node:assert/strict";
import { test } from "node:test";

import type { k8s } from "../../../api/index.ts";
import { validateRules as runRules } from "../../crd/rules.ts";
import { validateRules } from "./rules.ts";

type Props = k8s.JSONSchemaProps;
const root = (properties: Record<string, Props>): Props => ({ type: "object", properties });
const withRules = (props: Props, ...rules: (k8s.ValidationRule | string)[]): Props =>
  ({
    ...props,
    "x-kubernetes-validations": rules.map((rule) => (typeof rule === "string" ? { rule } : rule)),
  }) as Props;
const problems = (schema: Props): string[] =>
  validateRules(schema, "schema").map(({ field, detail }) => `${field}: ${detail}`);
const shown = (rule: string): string =>
  `{"Rule":${JSON.stringify(rule)},"Message":"","MessageExpression":"","Reason":null,"FieldPath":"","OptionalOldSelf":null}`;
const advice =
  "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)";
const rules = "x-kubernetes-validations[0]";

test("a rule must be well typed by its schema, and the refusal shows where it is not", () => {
  const spec = (rule: string) => root({ spec: withRules(root({ replicas: { type: "integer" } }), rule) });
  assert.deepEqual(problems(spec("self.replicas > 1 && self.replicas < 9")), []);
  assert.deepEqual(problems(spec("self.replica > 1")), [
    `schema.properties[spec].${rules}.rule: Invalid value: ${shown("self.replica > 1")}: compilation failed: ERROR: <input>:1:5: undefined field 'replica'\n | self.replica > 1\n | ....^`,
  ]);
  assert.deepEqual(problems(spec("self.replicas + 1")), [
    `schema.properties[spec].${rules}.rule: Invalid value: ${shown("self.replicas + 1")}: cel expression must evaluate to a bool`,
  ]);
  assert.deepEqual(problems(spec(" ")), [
    `schema.properties[spec].${rules}.rule: Required value: rule is not specified`,
  ]);
});

test("names that expressions cannot write are escaped, and the root has its names", () => {
  const schema = withRules(
    root({ "x-y": { type: "string" }, namespace: { type: "string" } }),
    "self.x__dash__y == self.__namespace__ && self.metadata.name.startsWith('a') && self.kind != ''",
  );
  assert.deepEqual(problems(schema), []);
  const object = { kind: "K", metadata: { name: "ab" }, "x-y": "a", namespace: "a" };
  assert.deepEqual(runRules(object, undefined, schema, ""), []);
});

test("a rule that could cost too much is refused, and bounds in the schema make it cheap", () => {
  const rule = "self.all(x, self.all(y, x == y))";
  const list = (maxItems?: number, maxLength?: number): Props =>
    root({ spec: root({ list: withRules({ type: "array", maxItems, items: { type: "string", maxLength } }, rule) }) });
  const at = `schema.properties[spec].properties[list].${rules}.rule`;
  const limit = `contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema`;
  assert.deepEqual(problems(list()), [
    `${at}: Forbidden: estimated rule cost exceeds budget by factor of more than 100x ${advice}`,
    `${at}: Forbidden: ${limit}`,
    `schema: Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by factor of more than 100x ${advice}`,
  ]);
  assert.deepEqual(problems(list(100, 64)), []);
  const factor = problems(list(1000, 64))[0]?.match(/factor of ([\d.]+x)/)?.[1];
  assert.equal(factor, "3.1x");
});

test("oldSelf is known only where a former value can be told, and must be used to be optional", () => {
  const rule = { rule: "self == oldSelf" };
  const item = withRules({ type: "string", maxLength: 9 }, rule);
  assert.deepEqual(problems(root({ list: { type: "array", maxItems: 9, items: item } })), [
    `schema.properties[list].items.${rules}.rule: Invalid value: "self == oldSelf": oldSelf cannot be used on the uncorrelatable portion of the schema within schema.properties[list]`,
  ]);
  assert.deepEqual(
    problems(root({ text: withRules({ type: "string" }, { rule: "self != ''", optionalOldSelf: true }) })),
    [
      `schema.properties[text].${rules}.optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule`,
    ],
  );
  const grows = withRules({ type: "integer" }, { rule: "oldSelf.orValue(0) <= self", optionalOldSelf: true });
  assert.deepEqual(problems(root({ count: grows })), []);
  assert.deepEqual(runRules({ count: 1 }, undefined, root({ count: grows }), ""), []);
  assert.equal(runRules({ count: 1 }, { count: 2 }, root({ count: grows }), "").length, 1);
});

test("times and durations are compared as such", () => {
  const schema = withRules(
    root({ at: { type: "string", format: "date-time" }, long: { type: "string", format: "duration" } }),
    "self.at + self.long < timestamp('2025-01-02T00:00:00Z')",
  );
  assert.deepEqual(problems(schema), []);
  assert.deepEqual(runRules({ at: "2025-01-01T00:00:00Z", long: "1h" }, undefined, schema, ""), []);
  assert.equal(runRules({ at: "2025-01-01T23:30:00Z", long: "1h" }, undefined, schema, "").length, 1);
});

test("rules that fail when they run, and those that cost too much then, say so", () => {
  const run = (rule: string, value: unknown, type = "object"): string[] =>
    runRules({ a: value }, undefined, root({ a: withRules({ type } as Props, rule) }), "").map(({ detail }) => detail);
  assert.deepEqual(run("self.b == 1", {}), ['Invalid value: "object": no such key: b evaluating rule: self.b == 1']);
  const endless = "self.all(a, self.all(b, self.all(c, a + b + c >= 0)))";
  const list = Array.from({ length: 300 }, (_, at) => at);
  assert.deepEqual(run(endless, list, "array"), [
    `Invalid value: "array": 'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: ${endless}`,
  ]);
});
