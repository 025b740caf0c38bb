import assert from "node:assert/strict";
import { test } from "node:test";
import type { Pod } from "../pod/imports.ts";
import { limitsStorage, overLimit } from "./local-storage.ts";

const KIB = 1024;
const pod = (limits: Record<string, string>, sizeLimit?: string) =>
  ({
    metadata: { name: "p" },
    spec: {
      containers: Object.entries(limits).map(([name, limit]) => ({
        name,
        resources: limit === "" ? {} : { limits: { "ephemeral-storage": limit } },
      })),
      volumes: [{ name: "scratch", emptyDir: sizeLimit === undefined ? {} : { sizeLimit } }],
    },
  }) as unknown as Pod;
const message = (of: Pod, containers: Record<string, number>, scratch = 0) =>
  overLimit(of, {
    containers: new Map(Object.entries(containers)),
    emptyDirs: new Map([["scratch", scratch]]),
  })?.message;

test("a container beyond its limit, with its name", () => {
  const limited = pod({ a: "1Ki", b: "8Ki" });
  assert.equal(message(limited, { a: KIB, b: KIB }), undefined);
  assert.equal(
    message(limited, { a: KIB + 1, b: 0 }),
    'Container a exceeded its local ephemeral storage limit "1Ki". ',
  );
});

test("everything together beyond the sum of the limits, emptyDirs included", () => {
  assert.equal(
    message(pod({ a: "1Ki", b: "" }), { a: 10, b: KIB }, 10),
    "Pod ephemeral local storage usage exceeds the total limit of containers 1Ki. ",
  );
});

test("an emptyDir beyond its size", () => {
  assert.equal(message(pod({ a: "" }, "1Ki"), {}, KIB), undefined);
  assert.match(message(pod({ a: "" }, "1Ki"), {}, KIB + 1)!, /EmptyDir volume "scratch" exceeds the limit "1Ki"/);
});

test("only Pods with limits are measured", () => {
  assert.deepEqual(
    [limitsStorage(pod({ a: "" })), limitsStorage(pod({ a: "1Gi" })), limitsStorage(pod({}, "1Gi"))],
    [false, true, true],
  );
});
