import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { checkImported, Disks } from "./disks.ts";
import { parseInfo, QemuImg, type Execution } from "./qemu-img.ts";

const INFO = { format: "qcow2", "virtual-size": 1 << 30, "actual-size": 4096, "format-specific": { data: {} } };

function tool(answers: (command: string, argv: readonly string[]) => Partial<Execution> | Promise<Partial<Execution>>) {
  const commands: string[] = [];
  const img = new QemuImg(async (argv) => {
    const at = argv.findIndex((word) => word.endsWith("/qemu-img"));
    commands.push(argv.slice(at + 1).join(" "));
    return { code: 0, stdout: "", stderr: "", ...(await answers(argv[at + 1]!, argv)) };
  });
  return { img, commands };
}

async function folder(t: TestContext): Promise<string> {
  const made = await mkdtemp(path.join(os.tmpdir(), "berth-disks-"));
  t.after(() => rm(made, { recursive: true, force: true }));
  return made;
}

test("an image from outside may not reach for other files of the host", () => {
  const info = (more: object) => parseInfo(JSON.stringify({ ...INFO, ...more }));
  assert.doesNotThrow(() => checkImported(info({}), "a.qcow2"));
  assert.throws(
    () => checkImported(info({ "backing-filename": "/etc/shadow" }), "a.qcow2"),
    /refers to another file \(\/etc\/shadow\)/,
  );
  assert.throws(
    () => checkImported(info({ "format-specific": { data: { "data-file": "/dev/sda" } } }), "a.qcow2"),
    /keeps its data in another file/,
  );
  assert.throws(
    () => checkImported(info({ "format-specific": { data: { corrupt: true } } }), "a.qcow2"),
    /marked as corrupt/,
  );
  const vmdk = (type: string) => info({ format: "vmdk", "format-specific": { data: { "create-type": type } } });
  assert.doesNotThrow(() => checkImported(vmdk("streamOptimized"), "a.vmdk"));
  assert.throws(() => checkImported(vmdk("monolithicFlat"), "a.vmdk"), /may stand in other files/);
  assert.throws(() => checkImported(info({ format: "luks" }), "a"), /format luks/);
});

test("an import that fails leaves nothing behind", async (t) => {
  const where = await folder(t);
  const { img } = tool(async (command, argv) => {
    if (command === "info") return { stdout: JSON.stringify(INFO) };
    await writeFile(argv.at(-1)!, "half");
    return { code: 1, stderr: "qemu-img: error while writing: No space left on device\n" };
  });
  await assert.rejects(new Disks(img).import("/images/a.qcow2", path.join(where, "root.qcow2")), {
    code: "resourceExhausted",
  });
  assert.deepEqual(await readdir(where), []);
});

test("a smaller image is grown to what the machine asks for", async (t) => {
  const where = await folder(t);
  const { img, commands } = tool(async (command, argv) => {
    if (command === "convert") await writeFile(argv.at(-1)!, "");
    return command === "info" ? { stdout: JSON.stringify(INFO) } : {};
  });
  const file = path.join(where, "root.qcow2");
  const disk = await new Disks(img).import("/images/a.qcow2", file, { minSizeBytes: 2 ** 31 });
  assert.equal(disk.virtualSizeBytes, 2 ** 31);
  assert.equal(commands.at(-1), `resize -q -f qcow2 ${file}.new ${2 ** 31}`);
  assert.ok(existsSync(file));
});

test("disks grow and do not shrink", async () => {
  const { img, commands } = tool(() => ({}));
  const disk = { file: "/d.qcow2", format: "qcow2", virtualSizeBytes: 2 ** 30 };
  assert.equal((await new Disks(img).grow(disk, 2 ** 31)).virtualSizeBytes, 2 ** 31);
  assert.deepEqual(commands, [`resize -q -f qcow2 /d.qcow2 ${2 ** 31}`]);
  await assert.rejects(new Disks(img).grow(disk, 2 ** 29), { code: "invalidArgument" });
});

test("paths are never options and never other protocols", async () => {
  const { img, commands } = tool(() => ({ stdout: JSON.stringify(INFO) }));
  await assert.rejects(img.info("--help"), { code: "invalidArgument" });
  await assert.rejects(img.info("nbd://host/x"), { code: "invalidArgument" });
  await img.info("/odd:name,x.qcow2");
  assert.match(commands[0]!, /file:\/odd:name,x\.qcow2$/);
});

test("a disk in use is said to be in use", async () => {
  const { img } = tool(() => ({
    code: 1,
    stderr: "qemu-img: Could not open '/d': Failed to get \"write\" lock\nIs another process using the image [/d]?\n",
  }));
  await assert.rejects(img.resize("/d", "qcow2", 2 ** 30), { code: "failedPrecondition" });
});
