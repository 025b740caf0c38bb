/** Whole virtual machines by `berth vm`: from a disk image, from an OCI image, and (with BERTH_VM_DEBIAN=1, some minutes) a Debian made from packages. */
import assert from "node:assert/strict";
import { rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { bootSector } from "../support/boot-media.ts";
import { startBerth, type TestBerth } from "../support/daemon.ts";
import { LONG_MS, machinesOf, until } from "../support/machines.ts";

let berth: TestBerth;
let vms: ReturnType<typeof machinesOf>;

before(async () => {
  berth = await startBerth();
  vms = machinesOf(berth);
  const made = await berth.berth("image", "bootstrap", "busybox");
  assert.equal(made.code, 0, made.stderr);
});
after(() => berth.stop());

test("a disk image boots by its firmware; what goes wrong is told", async () => {
  const { done, inspect, refused } = vms;
  const file = path.join(berth.directory, "boot.img");
  writeFileSync(file, bootSector("hello from a boot sector"));
  await done("run", file, "--name", "sector", "--memory", "64m");
  await vms.says("sector", "hello from a boot sector");
  const { pid } = await inspect("sector");
  process.kill(pid!, "SIGKILL");
  await until("the crash", async () => (await inspect("sector")).state === "crashed");
  assert.match((await inspect("sector")).reason!, /ended with 137; last on the console: hello from a boot sector/);
  await done("rm", "sector");

  await refused(/has \d+ MiB|have \d+ MiB left|would be promised/, "run", file, "--name", "huge", "--memory", "900g");
  await done("rm", "huge");
  await refused(/no firmware/, "create", file, "--firmware", "coreboot");
  await refused(/cannot be read/, "create", "/nowhere.qcow2");
  await refused(/there is no machine/, "start", "nobody");
});

test("an OCI image as a machine: its program, a published port, exec, files; it outlives kill -9 of the daemon; a clone is another machine", async () => {
  const { vm, done, inspect, serves } = vms;
  const script = "echo from-oci >/tmp/index.html; echo started; exec httpd -f -p 80 -h /tmp";
  await done("run", "oci:busybox", "--name", "oci", "-p", "80", "--memory", "128m", "--wait", "--", "sh", "-c", script);
  await serves("oci", "from-oci\n");
  assert.match(await done("exec", "oci", "--", "uname", "-r"), /cloud/);
  assert.equal(await done("exec", "oci", "--", "hostname"), "oci");
  assert.equal((await vm("exec", "oci", "--", "sh", "-c", "exit 7")).code, 7);
  const file = path.join(berth.directory, "file.txt");
  writeFileSync(file, "copied\n");
  await done("cp", file, "oci:/tmp/file.txt");
  assert.equal(await done("cp", "oci:/tmp/file.txt", "-"), "copied");

  await berth.kill();
  await berth.start();
  assert.equal((await inspect("oci")).state, "running");
  await serves("oci", "from-oci\n");
  await done("pause", "oci");
  assert.equal((await inspect("oci")).state, "paused");
  await done("resume", "oci");
  assert.equal(await done("cp", "oci:/tmp/file.txt", "-"), "copied");
  await done("stop", "oci");
  assert.equal((await inspect("oci")).state, "stopped");

  await done("run", "vm:oci", "--name", "twin", "--wait");
  assert.equal(await done("cp", "twin:/tmp/file.txt", "-"), "copied");
  assert.equal(await done("exec", "twin", "--", "hostname"), "twin");
  assert.notEqual((await inspect("twin")).addresses[0]!.macAddress, (await inspect("oci")).addresses[0]!.macAddress);
  await done("rm", "--force", "twin", "oci");
});

/** The life of a machine whose guest has a shell: its data stands in `folder`, its disk grows to `disk`. */
async function story(name: string, folder: string, disk: string, wait: () => Promise<void>): Promise<void> {
  const { done } = vms;
  const sh = (script: string) => done("exec", name, "--", "sh", "-c", script);
  const blocks = () => sh("stat -f -c %b /");
  const before = Number(await blocks());
  await done("resize", name, "--cpus", "2", "--disk", disk, "--cpu-limit", "2");
  assert.equal(await sh("nproc"), "2");
  assert.ok(Number(await blocks()) > before);

  await sh(`echo precious >${folder}/data; sync`);
  await done("snapshot", "create", name, "good");
  await sh(`rm ${folder}/data; sync`);
  await done("snapshot", "revert", name, "good");
  assert.equal(await sh(`cat ${folder}/data`), "precious");
  await wait();

  await done("backup", "create", name);
  await sh(`echo more >>${folder}/data; sync`);
  const live = path.join(berth.directory, `${name}-live.qcow2`);
  await done("export", name, live);
  await done("stop", name);
  const backup = await done("backup", "create", name);
  const listed = JSON.parse(await done("backup", "ls", name, "--json")) as Array<{ kind: string; consistency: string }>;
  assert.deepEqual(
    listed.map(({ kind, consistency }) => [kind, consistency]),
    [
      ["full", "agent"],
      ["incremental", "off"],
    ],
  );
  const raw = (text: string) => path.join(berth.directory, `${name}-${text}.raw`);
  const sum = async (text: string) => (await done("export", name, raw(text))).split(" ")[0];
  const original = await sum("original");
  assert.equal((await done("backup", "verify", backup)).split(" ")[0], original);
  await done("rm", name);
  await done("backup", "restore", backup);
  assert.equal(await sum("restored"), original);
  for (const text of ["original", "restored"]) rmSync(raw(text));
  rmSync(live);
}

test("a machine is resized live, snapshotted, broken, reverted, backed up, exported while it runs, deleted, restored with equal checksums", async () => {
  const script = "echo of-story >/tmp/index.html; exec httpd -f -p 80 -h /tmp";
  const flags = ["-p", "80", "--memory", "128m", "--wait", "--", "sh", "-c", script];
  await vms.done("run", "oci:busybox", "--name", "story", ...flags);
  await story("story", "/", "640m", () => vms.serves("story", "of-story\n"));
  await vms.done("start", "story", "--wait");
  assert.equal(await vms.done("exec", "story", "--", "cat", "/data"), "precious\nmore");
  await vms.done("rm", "--force", "story");
});

const skip = process.env["BERTH_VM_DEBIAN"]
  ? false
  : "makes and boots a Debian, which takes minutes under emulation: BERTH_VM_DEBIAN=1";

test("a Debian made from packages: cloud-init, ssh, a published port, and the same life", { skip }, async () => {
  const { done } = vms;
  const made = await berth.berthWith({ timeoutMs: LONG_MS }, "vm", "images", "debian");
  assert.equal(made.code, 0, made.stderr);
  await done("run", "debian", "--name", "debian", "-p", "80", "--wait");
  assert.equal(await done("ssh", "debian", "--", "id -un; sudo id -un; hostname"), "berth\nroot\ndebian");
  const serve = "echo from-debian >/srv/index.html; cd /srv; nohup python3 -m http.server 80 >/dev/null 2>&1 &";
  await done("exec", "debian", "--", "sh", "-c", serve);
  await vms.serves("debian", "from-debian\n");
  await story("debian", "/root", "3g", () => vms.serves("debian", "from-debian\n"));
});
