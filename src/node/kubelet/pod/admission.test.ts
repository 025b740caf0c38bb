import assert from "node:assert/strict";
import { test } from "node:test";
import type { Stored } from "../../../client/index.ts";
import type { k8s } from "../../../api/index.ts";
import { admitPod } from "./admission.ts";

const room = { pods: 10, cpuMilli: 1000, memoryBytes: 1e9 };
const pod = (name: string, hostIP?: string, protocol?: string, hostPort = 80) =>
  ({
    metadata: { name, uid: name },
    spec: { containers: [{ name: "c", ports: [{ containerPort: 1, hostPort, hostIP, protocol }] }] },
  }) as unknown as Stored<k8s.Pod>;

test("host ports collide on one address and protocol, and with those of every address", () => {
  const refused = (one: Stored<k8s.Pod>, other: Stored<k8s.Pod>) => admitPod(one, [other], room)?.reason;
  assert.equal(refused(pod("a"), pod("b")), "NodePorts");
  assert.equal(refused(pod("a", "127.0.0.1"), pod("b")), "NodePorts");
  assert.equal(refused(pod("a", "127.0.0.1"), pod("b", "0.0.0.0")), "NodePorts");
  assert.equal(refused(pod("a", "127.0.0.1"), pod("b", "127.0.0.2")), undefined);
  assert.equal(refused(pod("a", "127.0.0.1", "UDP"), pod("b", "127.0.0.1", "TCP")), undefined);
  assert.equal(refused(pod("a", "127.0.0.1", "UDP", 81), pod("b", "127.0.0.1", "UDP", 80)), undefined);
});
