import assert from "node:assert/strict";
import { test } from "node:test";
import type { Container, cri, Pod } from "../pod/imports.ts";
import { containerConfig } from "./container-config.ts";

const inputs = {
  attempt: 0,
  image: { id: "sha256:1" } as cri.CriImage,
  env: new Map(),
  mounts: [],
  devices: { envs: [], mounts: [], devices: [], annotations: {}, cdiDevices: [] },
  memoryCapacityBytes: 2 ** 30,
  seccompRoot: "/seccomp",
};

function securityOf(own: Container["securityContext"]): cri.LinuxContainerSecurityContext {
  const container = { name: "c", image: "i", securityContext: own } as Container;
  const pod = { metadata: { name: "p", namespace: "n", uid: "u" }, spec: { containers: [container] } } as Pod;
  return containerConfig(pod, container, inputs).linux.securityContext;
}

test("procMount Unmasked shows all of /proc, the default hides and protects parts of it", () => {
  const usual = securityOf({});
  assert.ok(usual.maskedPaths.includes("/proc/kcore"));
  assert.ok(usual.readonlyPaths.includes("/proc/sys"));
  const unmasked = securityOf({ procMount: "Unmasked" });
  assert.deepEqual([unmasked.maskedPaths, unmasked.readonlyPaths], [[], []]);
});

test("allowPrivilegeEscalation: false, a read-only root and a Localhost profile reach the runtime", () => {
  const security = securityOf({
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    seccompProfile: { type: "Localhost", localhostProfile: "own.json" },
  });
  assert.equal(security.noNewPrivs, true);
  assert.equal(security.readonlyRootfs, true);
  assert.deepEqual(security.seccomp, { type: "Localhost", localhostRef: "/seccomp/own.json" });
});
