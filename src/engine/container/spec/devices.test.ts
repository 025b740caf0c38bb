import assert from "node:assert/strict";
import { test } from "node:test";
import { devicesAt, hostDevices } from "./devices.ts";

test("a device is told with its numbers", () => {
  const [device] = devicesAt("/dev/null");
  assert.deepEqual(
    { ...device, fileMode: 0 },
    { type: "c", path: "/dev/null", major: 1, minor: 3, fileMode: 0, uid: 0, gid: 0 },
  );
});

test("what is no device is refused in Docker's words", () => {
  assert.throws(() => devicesAt("/etc/passwd"), /adding custom device "\/etc\/passwd": not a device node/);
  assert.throws(() => devicesAt("/dev/absent"), /adding custom device "\/dev\/absent": no such file or directory/);
});

test("the host's devices are those of its /dev, without the terminals and file systems that each container has of its own", () => {
  const paths = hostDevices().map((device) => device.path);
  assert.ok(paths.includes("/dev/null"));
  assert.deepEqual(
    paths.filter((path) => /^\/dev\/(pts|shm|mqueue|fd|console)/.test(path)),
    [],
  );
});
