import assert from "node:assert/strict";
import { test } from "node:test";
import { conform, type Shape } from "./shape.ts";

const shape: Shape = {
  Name: "text",
  Tty: "flag",
  Size: "int",
  Cmd: "words",
  Env: ["text"],
  Labels: { "*": "text" },
  Ports: { "*": [{ HostPort: "text" }] },
  Volumes: { "*": "object" },
};

test("a good document stays as it is, fields nobody knows too", () => {
  const good = { Name: "a", Tty: true, Size: 3, Env: ["A=b"], Labels: { a: "b" }, Volumes: { "/v": {} }, Other: [1] };
  assert.deepEqual(conform(good, shape), good);
});

test("one text stands for a list where Docker has it so", () => {
  assert.deepEqual(conform({ Cmd: "true" }, shape), { Cmd: ["true"] });
});

test("null is as good as nothing, and a zero in lists and maps", () => {
  const given = { Name: null, Env: [null], Labels: { a: null }, Ports: { "80/tcp": null } };
  assert.deepEqual(conform(given, shape), { Env: [""], Labels: { a: "" }, Ports: { "80/tcp": [] } });
});

test("another type is refused with the field's name", () => {
  const cases: Array<[object, RegExp]> = [
    [{ Name: 5 }, /^Error: invalid JSON: Name: a text is expected, not 5$/],
    [{ Size: 1.5 }, /Size: a whole number is expected/],
    [{ Size: 1e300 }, /Size: a whole number is expected/],
    [{ Env: {} }, /Env: a list is expected, not a value of type object/],
    [{ Env: ["a", 1] }, /Env\[1\]: a text/],
    [{ Labels: ["a"] }, /Labels: an object is expected, not a list/],
    [{ Ports: { "80/tcp": [{ HostPort: 80 }] } }, /Ports\.80\/tcp\[0\]\.HostPort: a text is expected, not 80/],
    [{ Volumes: { "/v": 1 } }, /Volumes\.\/v: an object/],
  ];
  for (const [document, message] of cases)
    assert.throws(
      () => conform(document, shape),
      (error: Error) => message.test(`Error: ${error.message}`) || message.test(error.message),
    );
});

test("a field named like the prototype is an ordinary field", () => {
  const value = conform(JSON.parse('{"Labels":{"__proto__":"x"}}'), shape) as { Labels: object };
  assert.equal(Object.getPrototypeOf(value), Object.prototype);
});
