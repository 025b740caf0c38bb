import assert from "node:assert/strict";
import { appendFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { silentLogger } from "../../base/index.ts";
import { knownAccelerator, probeAccelerator } from "./accelerator.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), "berth-probe-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** A QEMU that notes each run and does what `body` says. */
async function fakeQemu(body: string): Promise<string> {
  const file = path.join(folder, "qemu");
  const script = `#!/bin/sh\n[ "$1" = --version ] && { echo fake 1; exit; }\necho run >>${folder}/runs\n${body}\n`;
  await writeFile(file, script, { mode: 0o755 });
  return file;
}

const GUEST = { image: "/kernels/vmlinuz-1", initramfs: "/initramfs" };
const probe = (binary: string, deadlineMs = 20_000) =>
  probeAccelerator(path.join(folder, "cache"), GUEST, silentLogger, { binary, device: folder, deadlineMs });
const runs = async () => (await readFile(path.join(folder, "runs"), "utf8")).split("\n").length - 1;

test("a guest that answers under KVM: KVM, and the host is not asked twice", async () => {
  const binary = await fakeQemu("echo berth-probe-answer");
  assert.deepEqual(await probe(binary), { accelerator: "kvm" });
  assert.equal((await probe(binary)).accelerator, "kvm");
  assert.equal(await runs(), 1);
  const cache = path.join(folder, "cache");
  assert.deepEqual(await knownAccelerator(cache), { accelerator: "kvm" });
  const note = await readFile(path.join(cache, "accelerator.json"), "utf8");
  await writeFile(path.join(cache, "accelerator.json"), note.replace(/"2 \S+/, '"2 another-start'));
  assert.equal(await knownAccelerator(cache), undefined);
});

test("a QEMU that ends at once: emulation, with what it said", async () => {
  const binary = await fakeQemu("echo 'qemu-system-x86_64: error: failed to set MSR 0x10a to 0x69' >&2; exit 134");
  const { accelerator, reason } = await probe(binary);
  assert.equal(accelerator, "tcg");
  assert.match(reason!, /ended with 134.*error: failed to set MSR 0x10a/);
});

test("a guest that hangs: emulation after the deadline, remembered", async () => {
  const binary = await fakeQemu("exec sleep 1000");
  const { accelerator, reason } = await probe(binary, 300);
  assert.equal(accelerator, "tcg");
  assert.match(reason!, /does not answer within 300 ms/);
  await probe(binary, 300);
  assert.equal(await runs(), 1);
});

test("another QEMU is asked anew, and a damaged note counts as none", async () => {
  await probe(await fakeQemu("echo berth-probe-answer"));
  const binary = await fakeQemu("exit 1");
  await writeFile(binary, (await readFile(binary, "utf8")).replace("fake 1", "fake 2"), { mode: 0o755 });
  assert.equal((await probe(binary)).accelerator, "tcg");
  await appendFile(path.join(folder, "cache/accelerator.json"), "}");
  assert.equal((await probe(binary)).accelerator, "tcg");
  assert.equal(await runs(), 3);
});

test("no device: emulation, and no QEMU is run", async () => {
  const facts = await probeAccelerator(folder, GUEST, silentLogger, { binary: "/none", device: `${folder}/none` });
  assert.equal(facts.accelerator, "tcg");
});
