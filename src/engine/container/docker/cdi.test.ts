import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";
import { baseSpec } from "../spec/defaults.ts";
import { injectDevices, readCdiSpecs, requestedDevices, type CdiSpec } from "./cdi.ts";

const SPEC: CdiSpec = {
  kind: "vendor.com/net",
  containerEdits: { env: ["VENDOR=1"] },
  devices: [
    {
      name: "a",
      containerEdits: {
        env: ["A=1"],
        deviceNodes: [{ path: "/dev/a", hostPath: "/dev/null", permissions: "rw" }],
        mounts: [{ hostPath: "/lib/vendor", containerPath: "/lib/vendor" }],
        additionalGids: [44],
      },
    },
    { name: "b", containerEdits: { env: ["B=1"] } },
  ],
};
const describe = () => ({ type: "c" as const, major: 1, minor: 3 });
const fresh = () => baseSpec({ rootfs: "/r", args: ["x"], env: [], cwd: "/" });

test("devices of a spec edit the container's, the spec's own edits once", () => {
  const spec = fresh();
  injectDevices(spec, ["vendor.com/net=a", "vendor.com/net=b"], [SPEC], describe);
  assert.deepEqual(spec.process.env, ["VENDOR=1", "A=1", "B=1"]);
  assert.deepEqual(
    spec.linux.devices?.map(({ path: file, major, minor }) => [file, major, minor]),
    [["/dev/a", 1, 3]],
  );
  assert.deepEqual(spec.linux.resources?.devices?.at(-1), { allow: true, type: "c", major: 1, minor: 3, access: "rw" });
  assert.equal(spec.mounts.at(-1)?.destination, "/lib/vendor");
  assert.deepEqual(spec.process.user.additionalGids, [44]);
});

test("what cannot be had is said in dockerd's words", () => {
  assert.throws(
    () => injectDevices(fresh(), ["vendor.com/net=c"], [SPEC], describe),
    /unresolvable CDI devices vendor\.com\/net=c/,
  );
  assert.throws(
    () => requestedDevices([{ Driver: "", Count: -1, Capabilities: [["gpu"]] }]),
    /could not select device driver "" with capabilities: \[\[gpu\]\]/,
  );
  assert.throws(() => requestedDevices([{ Driver: "cdi", DeviceIDs: ["a"] }]), /invalid CDI device name "a"/);
  const hooked = { kind: "v/c", devices: [{ name: "h", containerEdits: { hooks: [{}] } }] };
  assert.throws(() => injectDevices(fresh(), ["v/c=h"], [hooked], describe), /hooks/);
});

test("specs are JSON or YAML; one that cannot be read is told of and left out", async () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), "berth-cdi-"));
  try {
    writeFileSync(path.join(folder, "a.json"), JSON.stringify(SPEC));
    writeFileSync(path.join(folder, "b.yaml"), "kind: v/c\ndevices:\n- name: x\n");
    writeFileSync(path.join(folder, "c.json"), "{");
    const warnings: string[] = [];
    const specs = await readCdiSpecs((message) => warnings.push(message), [folder]);
    assert.deepEqual(
      specs.map(({ kind }) => kind),
      ["vendor.com/net", "v/c"],
    );
    assert.equal(warnings.length, 1);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
