import assert from "node:assert/strict";
import { test } from "node:test";
import { UsualFolder } from "./usual-folder.ts";

test("the usual folder is the node's own, by both names", () => {
  const folder = new UsualFolder("/run/berth/kubelet", false);
  assert.equal(folder.toNode("/var/lib/kubelet"), "/run/berth/kubelet");
  assert.equal(folder.toNode("/var/lib/kubelet/plugins/x"), "/run/berth/kubelet/plugins/x");
  assert.equal(folder.toUsual("/run/berth/kubelet/pods/u/mount"), "/var/lib/kubelet/pods/u/mount");
  for (const other of ["/var/lib/kubelets/x", "/var/lib", "/run/berth/kubelet/pods"])
    assert.equal(folder.toNode(other), other);
});

test("where somebody else's kubelet is at home, paths mean what they say", () => {
  const folder = new UsualFolder("/run/berth/kubelet", true);
  assert.equal(folder.toNode("/var/lib/kubelet/plugins"), "/var/lib/kubelet/plugins");
  assert.equal(folder.has("/var/lib/kubelet/plugins"), false);
});
