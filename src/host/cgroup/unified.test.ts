/** A host that has control groups v2 alone, as a tree of files: what is read and written where. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { Cgroup } from "./cgroup.ts";
import { cgroupLayout, hierarchyRoots } from "./layout.ts";
import { cgroupStats } from "./stats.ts";

/** As Debian with systemd has it. */
const MOUNTINFO = [
  "24 30 0:22 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw",
  "29 24 0:26 / ROOT rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot",
].join("\n");

function host(context: TestContext, files: Readonly<Record<string, string>> = {}) {
  const root = mkdtempSync(path.join(tmpdir(), "berth-cgroup2-"));
  context.after(() => rmSync(root, { recursive: true }));
  for (const [file, text] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(root, file)), { recursive: true });
    writeFileSync(path.join(root, file), text);
  }
  return {
    root,
    layout: cgroupLayout(MOUNTINFO.replace("ROOT", root)),
    read: (file: string) => readFileSync(path.join(root, file), "utf8"),
  };
}

test("the layout, and where a group is", (context) => {
  const { root, layout } = host(context);
  assert.equal(layout.mode, "unified");
  assert.deepEqual(hierarchyRoots(layout), [root]);
  assert.equal(new Cgroup(layout, "/berth/one").directory("memory"), path.join(root, "berth/one"));
});

test("limits of a nested group: every group above hands the controllers down that it has", async (context) => {
  const { layout, read } = host(context, {
    "cgroup.controllers": "cpuset cpu io memory pids\n",
    "berth/cgroup.controllers": "cpu memory\n",
  });
  await new Cgroup(layout, "/berth/pods/one").limit({ memoryLimitInBytes: 1 << 20 });
  assert.equal(read("cgroup.subtree_control"), "+memory");
  assert.equal(read("berth/cgroup.subtree_control"), "+memory");
  assert.equal(read("berth/pods/one/memory.max"), "1048576");
});

test("freezing, thawing, processes of the whole tree, counters", async (context) => {
  const { layout, read } = host(context, {
    "one/cgroup.procs": "4\n5\n",
    "one/inner/cgroup.procs": "6\n",
    "one/cgroup.freeze": "0\n",
    "one/cpu.stat":
      "usage_usec 3000\nuser_usec 2000\nsystem_usec 1000\nnr_periods 4\nnr_throttled 1\nthrottled_usec 50\n",
    "one/memory.current": "8192\n",
    "one/memory.max": "max\n",
    "one/memory.stat": "anon 4096\nfile 4096\n",
    "one/pids.current": "3\n",
    "one/pids.max": "77\n",
    "one/io.stat": "254:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n",
  });
  const group = new Cgroup(layout, "/one");
  assert.deepEqual(new Set(await group.processes()), new Set([4, 5, 6]));
  assert.equal(await group.frozen(), false);
  await group.freeze();
  assert.deepEqual([read("one/cgroup.freeze"), await group.frozen()], ["1", true]);
  await group.thaw();
  assert.equal(await group.frozen(), false);
  const { cpu, memory, pids, blockIo } = await cgroupStats(layout, group);
  assert.deepEqual([cpu.usageNanos, cpu.throttledNanos, cpu.periods], [3_000_000, 50_000, 4]);
  assert.deepEqual([memory.usageBytes, memory.stat["anon"]], [8192, 4096]);
  assert.ok(memory.limitBytes > 2 ** 62);
  assert.deepEqual(pids, { current: 3, limit: 77 });
  assert.deepEqual(blockIo, [{ major: 254, minor: 0, readBytes: 4096, writeBytes: 8192, readOps: 1, writeOps: 2 }]);
});
