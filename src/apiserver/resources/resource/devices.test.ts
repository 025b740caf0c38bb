import assert from "node:assert/strict";
import { test } from "node:test";

import type { k8s } from "../../../api/index.ts";
import { validateClaimStatus, validateConfigs, validateProperties, validateQualifiedName } from "./properties.ts";
import { validateSelectorExpressions } from "./selectors.ts";
import type { FieldError } from "../../machinery/kind.ts";

const text = (errors: readonly FieldError[]) => errors.map(({ field, detail }) => `${field}: ${detail}`);
const selector = (expression: string) => text(validateSelectorExpressions([{ cel: { expression } }], "s"));

test("selectors are well typed and cheap", () => {
  assert.deepEqual(selector("device.attributes['a.b'].c && device.capacity['a.b'].d.compareTo(quantity('1')) > 0"), []);
  assert.deepEqual(selector("device.name == 'x'"), [
    `s[0].cel.expression: Invalid value: "device.name == 'x'": compilation failed: ERROR: <input>:1:7: undefined field 'name'\n | device.name == 'x'\n | ......^`,
  ]);
  assert.deepEqual(selector("device.driver"), [
    's[0].cel.expression: Invalid value: "device.driver": must evaluate to bool or the unknown type, not string',
  ]);
  const each = (inner: string) => `device.attributes.all(a, device.attributes.all(b, ${inner}))`;
  assert.deepEqual(selector(each(each(each("a == b")))), [
    "s[0].cel.expression: Forbidden: too complex, exceeds cost limit",
  ]);
});

test("attributes have one value, names a domain where they must; parameters are objects", () => {
  const device = { name: "d", attributes: { a: {}, "b-c": { int: 1, bool: true }, v: { version: "1.0" } } };
  assert.deepEqual(
    text(validateProperties(device as k8s.Device, "d")).map((line) => line.slice(0, 60)),
    [
      "d.attributes[a]: Required value: exactly one value must be s",
      'd.attributes[b-c]: Invalid value: "b-c": a valid C identifie',
      'd.attributes[b-c]: Invalid value: {"int":1,"bool":true}: exa',
      'd.attributes[v].version: Invalid value: "1.0": must be a str',
    ],
  );
  assert.deepEqual(text(validateQualifiedName("numa", "m", true)), ['m: Invalid value: "numa": must include a domain']);
  assert.deepEqual(validateQualifiedName("a.com/numa", "m", true), []);
  const config = [{ requests: ["x"], opaque: { driver: "a.com", parameters: "text" as never } }, {}];
  assert.deepEqual(text(validateConfigs(config, new Set(["r"]), "c")), [
    `c[0].requests[0]: Invalid value: "x": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'`,
    'c[0].opaque.parameters: Invalid value: "<value omitted>": must be a valid JSON object',
    "c[1].opaque: Required value",
  ]);
});

test("a claim is reserved only while it is allocated, and its allocation does not change", () => {
  const claim = (status: k8s.ResourceClaimStatus): k8s.ResourceClaim => ({ metadata: {}, spec: {}, status });
  const reservedFor = [{ resource: "pods", name: "p", uid: "1" }];
  assert.deepEqual(text(validateClaimStatus(claim({ reservedFor }), claim({}))), [
    "status.reservedFor: Forbidden: may not be specified when `allocated` is not set",
  ]);
  const allocated = (pool: string) => ({
    allocation: { devices: { results: [{ request: "r", driver: "d", pool, device: "x" }] } },
  });
  assert.match(text(validateClaimStatus(claim(allocated("a")), claim(allocated("b"))))[0]!, /field is immutable$/);
  assert.deepEqual(validateClaimStatus(claim({ ...allocated("a"), reservedFor }), claim(allocated("a"))), []);
});
