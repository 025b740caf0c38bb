/** Whole virtual machines by `berth vm`: from a disk image, from an OCI image, and a Debian made from packages. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import http from "node:http";
import path from "node:path";
import { after, before, test } from "node:test";
import { startBerth, type Output, type TestBerth } from "../support/daemon.ts";

/** Under emulation, on a busy machine: making an image, or booting it. */
const LONG_MS = 400_000;
const PORT = 28_481;
let berth: TestBerth;
let image: Promise<Output>;

before(async () => {
  berth = await startBerth();
  const made = await berth.berth("image", "bootstrap", "busybox");
  assert.equal(made.code, 0, made.stderr);
  image = berth.berthWith({ timeoutMs: LONG_MS }, "vm", "images", "debian");
});
after(() => berth.stop());

const vm = (...args: string[]) => berth.berthWith({ timeoutMs: LONG_MS }, "vm", ...args);

async function done(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await vm(...args);
  assert.equal(code, 0, `berth vm ${args.join(" ")}: ${stderr}${stdout}`);
  return stdout.trim();
}

interface View {
  readonly state: string;
  readonly reason?: string;
  readonly pid?: number;
  readonly addresses: ReadonlyArray<{ readonly ipv4Address: string; readonly macAddress: string }>;
}
const inspect = async (name: string) => (JSON.parse(await done("inspect", name)) as View[])[0]!;

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + LONG_MS;
  while (!(await holds())) {
    assert.ok(performance.now() < deadline, `${what} did not come true`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

function ask(port: number): Promise<string> {
  return new Promise((resolve) => {
    http
      .get({ host: "127.0.0.1", port, agent: false, timeout: 5000 }, (response) => {
        let text = "";
        response.on("data", (chunk: Buffer) => (text += chunk.toString())).on("end", () => resolve(text));
      })
      .on("error", () => resolve(""));
  });
}

/** 512 bytes that say a line on the first serial port and halt: x86 real mode, as firmware starts it. */
function bootSector(line: string): Buffer {
  const code = [0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0xbe, 0x16, 0x7c];
  const print = [0xac, 0x84, 0xc0, 0x74, 0x06, 0xba, 0xf8, 0x03, 0xee, 0xeb, 0xf5];
  const halt = [0xf4, 0xeb, 0xfd];
  const sector = Buffer.alloc(1024 * 1024);
  Buffer.from([...code, ...print, ...halt, ...Buffer.from(`${line}\r\n\0`)]).copy(sector);
  sector.writeUInt16LE(0xaa55, 510);
  return sector;
}

test("a disk image boots by its firmware; what goes wrong is told", async () => {
  const file = path.join(berth.directory, "boot.img");
  writeFileSync(file, bootSector("hello from a boot sector"));
  await done("run", file, "--name", "sector", "--memory", "64m");
  await until("the line on the console", async () =>
    (await done("logs", "sector")).includes("hello from a boot sector"),
  );
  const { pid } = await inspect("sector");
  process.kill(pid!, "SIGKILL");
  await until("the crash", async () => (await inspect("sector")).state === "crashed");
  assert.match((await inspect("sector")).reason!, /ended with 137; last on the console: hello from a boot sector/);
  await done("rm", "sector");

  const refused = async (expected: RegExp, ...args: string[]) => {
    const { code, stderr } = await vm(...args);
    assert.notEqual(code, 0);
    assert.match(stderr, expected);
  };
  await refused(/has \d+ MiB|have \d+ MiB left|would be promised/, "run", file, "--name", "huge", "--memory", "900g");
  await done("rm", "huge");
  await refused(/no firmware/, "create", file, "--firmware", "coreboot");
  await refused(/cannot be read/, "create", "/nowhere.qcow2");
  await refused(/there is no machine/, "start", "nobody");
});

test("an OCI image as a machine: its program, a published port, exec, files; it outlives kill -9 of the daemon; a clone is another machine", async () => {
  const script = "echo from-oci >/tmp/index.html; echo started; exec httpd -f -p 80 -h /tmp";
  await done(
    "run",
    "oci:busybox",
    "--name",
    "oci",
    "-p",
    `${PORT}:80`,
    "--memory",
    "128m",
    "--wait",
    "--",
    "sh",
    "-c",
    script,
  );
  await until("the page", async () => (await ask(PORT)) === "from-oci\n");
  assert.match(await done("exec", "oci", "--", "uname", "-r"), /cloud/);
  assert.equal(await done("exec", "oci", "--", "hostname"), "oci");
  assert.equal((await vm("exec", "oci", "--", "sh", "-c", "exit 7")).code, 7);
  const file = path.join(berth.directory, "file.txt");
  writeFileSync(file, "copied\n");
  await done("cp", file, "oci:/tmp/file.txt");
  assert.equal(await done("cp", "oci:/tmp/file.txt", "-"), "copied");

  // It is made by the daemon that is about to be killed.
  await image;
  await berth.kill();
  await berth.start();
  assert.equal((await inspect("oci")).state, "running");
  assert.equal(await ask(PORT), "from-oci\n");
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

test("a monitor that is killed loses nothing that the guest had flushed", async () => {
  const rounds = Number(process.env["BERTH_VM_KILL_ROUNDS"] ?? 1);
  await done("create", "oci:busybox", "--name", "kill", "--memory", "128m", "--", "sleep", "1000000");
  let written = "";
  for (let round = 0; round < rounds; round++) {
    await done("start", "kill", "--wait");
    assert.equal(await done("exec", "kill", "--", "sh", "-c", "cat /log 2>/dev/null; true"), written);
    written = `${written}\nround ${round}`.trim();
    // What is written without a flush meanwhile may be lost, and must do no harm.
    const script = `echo round ${round} >>/log; sync; (dd if=/dev/zero of=/noise bs=64k count=200 >/dev/null 2>&1 &)`;
    await done("exec", "kill", "--", "sh", "-c", script);
    process.kill((await inspect("kill")).pid!, "SIGKILL");
    await until("the crash", async () => (await inspect("kill")).state === "crashed");
  }
  await done("start", "kill", "--wait");
  assert.equal(await done("exec", "kill", "--", "cat", "/log"), written);
  await done("rm", "--force", "kill");
});

test("a Debian made from packages: cloud-init, ssh, resized live, snapshotted, broken, reverted, backed up, deleted, restored with equal checksums", async () => {
  const made = await image;
  assert.equal(made.code, 0, made.stderr);
  await done("run", "debian", "--name", "debian", "-p", `${PORT}:80`, "--wait");
  assert.equal(await done("ssh", "debian", "--", "id -un; sudo id -un; hostname"), "berth\nroot\ndebian");
  const sh = (script: string) => done("exec", "debian", "--", "sh", "-c", script);
  await sh("echo from-debian >/srv/index.html; cd /srv; nohup python3 -m http.server 80 >/dev/null 2>&1 &");
  await until("the page", async () => (await ask(PORT)) === "from-debian\n");

  const blocks = () => sh("stat -f -c %b /");
  const before = Number(await blocks());
  await done("resize", "debian", "--cpus", "2", "--memory", "384m", "--disk", "3g", "--cpu-limit", "2");
  assert.equal(await sh("nproc"), "2");
  assert.ok(Number(await blocks()) > before);

  await sh("echo precious >/root/data; sync");
  await done("snapshot", "create", "debian", "good");
  await sh("rm /root/data; sync");
  await done("snapshot", "revert", "debian", "good");
  assert.equal(await sh("cat /root/data"), "precious");
  assert.equal(await ask(PORT), "from-debian\n");

  await done("backup", "create", "debian");
  await sh("echo more >>/root/data; sync");
  await done("stop", "debian");
  const backup = await done("backup", "create", "debian");
  const listed = JSON.parse(await done("backup", "ls", "debian", "--json")) as Array<{
    kind: string;
    consistency: string;
  }>;
  assert.deepEqual(
    listed.map(({ kind, consistency }) => [kind, consistency]),
    [
      ["full", "agent"],
      ["incremental", "off"],
    ],
  );
  const raw = (name: string) => path.join(berth.directory, `${name}.raw`);
  const sum = async (name: string) => (await done("export", "debian", raw(name))).split(" ")[0];
  const original = await sum("original");
  assert.equal((await done("backup", "verify", backup)).split(" ")[0], original);
  await done("rm", "debian");
  await done("backup", "restore", backup);
  assert.equal(await sum("restored"), original);
});
