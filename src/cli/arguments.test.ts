import assert from "node:assert/strict";
import { test } from "node:test";
import { publishedPorts, toBytes, toImageReference } from "./arguments.ts";

test("image names", () => {
  assert.deepEqual(toImageReference("busybox"), { repository: "busybox", tag: "latest" });
  assert.deepEqual(toImageReference("host:5000/a/b"), { repository: "host:5000/a/b", tag: "latest" });
  assert.deepEqual(toImageReference("host:5000/a/b:1"), { repository: "host:5000/a/b", tag: "1" });
  assert.deepEqual(toImageReference("a@sha256:0"), { repository: "a@sha256:0", tag: undefined });
});

test("sizes", () => {
  assert.deepEqual(["10", "1k", "512m", "1.5g", "2GB"].map(toBytes), [10, 1024, 536870912, 1610612736, 2147483648]);
  assert.throws(() => toBytes("much"), /invalid size "much"/);
});

test("published ports", () => {
  assert.deepEqual(publishedPorts(["8080:80"]).bindings, { "80/tcp": [{ HostIp: "", HostPort: "8080" }] });
  assert.deepEqual(publishedPorts(["127.0.0.1:8080:80", "[::1]::80"]).bindings, {
    "80/tcp": [
      { HostIp: "127.0.0.1", HostPort: "8080" },
      { HostIp: "::1", HostPort: "" },
    ],
  });
  assert.deepEqual(Object.keys(publishedPorts(["53/udp", "90-91:80-81"]).bindings), ["53/udp", "80/tcp", "81/tcp"]);
  for (const wrong of ["x", "0:80", "70000:80", "80-82:80-81", "81-80"])
    assert.throws(() => publishedPorts([wrong]), /invalid port/);
});
