/** The pure parts of host/: monitors' command lines, runtimes' complaints, control groups' files, the seccomp table. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { blockIoV1, blockIoV2, cgroupLayout, parseNetDev } from "./cgroup/index.ts";
import { monitorArgv, type MonitorRequest } from "./conmon/index.ts";
import { runtimeError } from "./crun/index.ts";
import { collect, makePipe, run } from "./process/index.ts";
import { closeSync, writeSync } from "node:fs";
import { defaultSeccompProfile } from "./seccomp/index.ts";
import { hasCode } from "../base/index.ts";

const REQUEST: MonitorRequest = {
  conmon: "/usr/bin/conmon",
  runtime: "/usr/bin/crun",
  runtimeArgs: ["--root", "/r"],
  id: "c1",
  bundle: "/b",
  pidFile: "/b/pid",
  monitorPidFile: "/b/conmon.pid",
  exitDir: "/exits",
  terminal: false,
  stdin: false,
  leaveStdinOpen: true,
};

test("conmon's command line", () => {
  assert.equal(
    monitorArgv({ ...REQUEST, logPath: "/l" }).join(" "),
    "/usr/bin/conmon --api-version 1 -c c1 -u c1 -n c1 -r /usr/bin/crun --runtime-arg --root --runtime-arg /r -b /b -p /b/pid " +
      "--conmon-pidfile /b/conmon.pid --exit-dir /exits --persist-dir /b --full-attach -l k8s-file:/l --log-level error",
  );
  const interactive = monitorArgv({ ...REQUEST, terminal: true, stdin: true, execSpecPath: "/p" }).join(" ");
  assert.match(
    interactive,
    /-l none --log-level error -t -i --leave-stdin-open -e --exec-attach --exec-process-spec \/p$/,
  );
});

test("a runtime's complaint in Docker's words, with the exit code", () => {
  const table = [
    [
      "executable file `nope` not found in $PATH: No such file or directory",
      127,
      /exec: "nope": executable file not found in \$PATH: unknown$/,
    ],
    ['{"level":"error","msg":"exec: \\"nope\\": permission denied"}', 126, /permission denied: unknown$/],
    ["open executable: Operation not permitted", 126, /permission denied/],
    ["2026-01-01T00:00:00.1Z: something else", 128, /failed: something else: unknown$/],
  ] as const;
  for (const [message, exitCode, words] of table) {
    const error = runtimeError(message, "nope");
    assert.equal(error.details["exitCode"], exitCode);
    assert.match(error.message, words);
  }
  assert.match(
    runtimeError("executable file `x` not found in $PATH", "x", "exec").message,
    /^OCI runtime exec failed: exec failed: /,
  );
});

test("layouts of control groups", () => {
  const v1 = "30 23 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n";
  const v2 = "31 23 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
  assert.equal(cgroupLayout(v1).mode, "legacy");
  assert.equal(cgroupLayout(v1 + v2).mode, "hybrid");
  assert.equal(cgroupLayout(v2).mode, "unified");
  assert.equal(cgroupLayout(v1).controllers.get("cpuacct"), "/sys/fs/cgroup/cpu,cpuacct");
});

test("counters of disks and links", () => {
  assert.deepEqual(blockIoV1("8:0 Read 10\n8:0 Write 20\nTotal 30", "8:0 Read 1\n8:0 Write 2"), [
    { major: 8, minor: 0, readBytes: 10, readOps: 1, writeBytes: 20, writeOps: 2 },
  ]);
  assert.deepEqual(blockIoV2("8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0\n"), [
    { major: 8, minor: 0, readBytes: 10, readOps: 1, writeBytes: 20, writeOps: 2 },
  ]);
  const [link] = parseNetDev(
    "Inter-|\n face |\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  eth0: 10 2 0 3 0 0 0 0 40 5 0 6 0 0 0 0\n",
  );
  assert.deepEqual(
    [link?.name, link?.rxBytes, link?.rxDropped, link?.txBytes, link?.txPackets, link?.txDropped],
    ["eth0", 10, 3, 40, 5, 6],
  );
});

test("the default seccomp profile: namespaces take CAP_SYS_ADMIN, chroot its own capability", () => {
  const names = (capabilities: string[]) => defaultSeccompProfile(capabilities, "x64").syscalls[0]!.names;
  const plain = names([]);
  assert.ok(plain.includes("read") && plain.includes("arch_prctl"));
  for (const denied of ["mount", "chroot", "unshare", "clone", "bpf", "reboot", "socket", "io_uring_setup"])
    assert.ok(!plain.includes(denied), denied);
  assert.ok(names(["CAP_SYS_CHROOT"]).includes("chroot"));
  const admin = defaultSeccompProfile(["CAP_SYS_ADMIN"], "x64").syscalls;
  assert.ok(admin[0]!.names.includes("clone3"));
  assert.ok(!admin.some((rule) => rule.errnoRet === 38));
});

test("run: output, exit code, input, a missing program, cancel", async () => {
  assert.deepEqual(await run(["/bin/sh", "-c", "echo out; echo err >&2; exit 3"]), {
    code: 3,
    stdout: "out\n",
    stderr: "err\n",
  });
  assert.equal((await run(["/bin/cat"], { input: "in" })).stdout, "in");
  await assert.rejects(run(["/no/such/program"]), (error) => hasCode(error, "notFound"));
  const stop = new AbortController();
  const sleeping = run(["/bin/sleep", "60"], { signal: stop.signal });
  stop.abort();
  await assert.rejects(sleeping, (error) => hasCode(error, "canceled"));
});

test("a pipe's reader sees what was written, then the end", async () => {
  const { readFd, writeFd } = makePipe();
  writeSync(writeFd, "text");
  closeSync(writeFd);
  assert.equal(await collect(readFd), "text");
});
