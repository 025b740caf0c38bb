import assert from "node:assert/strict";
import { mkdtemp, mkdir, readdir, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { accessMode, CSI_FOLDER, recordsOf, removeRecord, takesFsGroup, targetOf, writeRecord } from "./records.ts";

const root = await mkdtemp(path.join(os.tmpdir(), "berth-csi-"));
after(() => rm(root, { recursive: true, force: true }));

const record = {
  driverName: "d",
  volumeHandle: "h",
  specVolID: "pv",
  volumeLifecycleMode: "Persistent",
  stagingPath: "/s",
} as const;

test("what was asked of a driver is found again, and goes when it was given back", async () => {
  const folder = path.join(root, "uid/volumes", CSI_FOLDER, "pv");
  await writeRecord(folder, record);
  assert.deepEqual(await recordsOf(path.join(root, "uid")), [{ folder, record }]);
  await mkdir(targetOf(folder));
  await removeRecord(folder);
  assert.deepEqual(await readdir(folder), []);
  assert.deepEqual(await recordsOf(path.join(root, "uid")), []);
});

test("files that a driver left are never removed", async () => {
  const folder = path.join(root, "other/volumes", CSI_FOLDER, "pv");
  await writeRecord(folder, record);
  await mkdir(targetOf(folder));
  await writeFile(path.join(targetOf(folder), "precious"), "x");
  await assert.rejects(removeRecord(folder), /the driver left files/);
  assert.equal((await recordsOf(path.join(root, "other"))).length, 1);
});

test("access modes have CSI's names, the newer ones only for drivers that know them", () => {
  assert.equal(accessMode(["ReadWriteOnce"], false), "SINGLE_NODE_WRITER");
  assert.equal(accessMode(["ReadWriteOnce"], true), "SINGLE_NODE_MULTI_WRITER");
  assert.equal(accessMode(["ReadWriteOncePod"], true), "SINGLE_NODE_SINGLE_WRITER");
  assert.equal(accessMode(["ReadOnlyMany"], false), "MULTI_NODE_READER_ONLY");
  assert.equal(accessMode(["ReadWriteMany", "ReadWriteOnce"], false), "MULTI_NODE_MULTI_WRITER");
});

test("fsGroup follows the driver's policy", () => {
  const once = { fsType: "ext4", modes: ["ReadWriteOnce"], readOnly: false };
  assert.equal(takesFsGroup(undefined, once), true);
  assert.equal(takesFsGroup(undefined, { ...once, fsType: undefined }), false);
  assert.equal(takesFsGroup("ReadWriteOnceWithFSType", { ...once, modes: ["ReadWriteMany"] }), false);
  assert.equal(takesFsGroup("File", { ...once, modes: ["ReadWriteMany"], fsType: "" }), true);
  assert.equal(takesFsGroup("None", once), false);
  assert.equal(takesFsGroup("File", { ...once, readOnly: true }), false);
});
