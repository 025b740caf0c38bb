import assert from "node:assert/strict";
import { test } from "node:test";
import { MiB } from "../../base/index.ts";
import { baseSpec } from "../../engine/index.ts";
import { parseAnswer, quote } from "./agent.ts";
import { guestSpec, machineSize } from "./spec.ts";

test("a machine is as big as its containers' limits and the guest's own needs", () => {
  assert.deepEqual(machineSize(), { memoryBytes: 352 * MiB, cpus: 1 });
  assert.deepEqual(machineSize({ memory: { limit: 128 * MiB }, cpu: { quota: 150_000, period: 100_000 } }), {
    memoryBytes: 224 * MiB,
    cpus: 2,
  });
});

test("bind mounts come through the share, and host namespaces are refused", () => {
  const spec = baseSpec({ rootfs: "/r", args: ["true"], env: [], cwd: "/" });
  spec.mounts.push({ destination: "/data", type: "bind", source: "/host", options: ["rbind"] });
  const made = guestSpec("c1", spec, { id: "s", netnsPath: "/n" });
  assert.equal(made.spec.root.path, "/share/c1/rootfs");
  assert.deepEqual(made.binds, [{ index: 0, source: "/host", destination: "/data" }]);
  assert.equal(made.spec.mounts.at(-1)!.source, "/share/c1/mounts/0");
  spec.linux.namespaces = spec.linux.namespaces.filter(({ type }) => type !== "pid");
  assert.throws(() => guestSpec("c1", spec, { id: "s", netnsPath: "/n" }), { code: "failedPrecondition" });
});

test("the agent's answers, and words for its shell", () => {
  assert.deepEqual(parseAnswer("a\n\nexit 3\n"), { code: 3, output: "a\n" });
  assert.throws(() => parseAnswer(""), { code: "unavailable" });
  assert.equal(quote("it's"), `'it'\\''s'`);
});
