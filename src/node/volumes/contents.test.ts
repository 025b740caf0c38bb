import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { KeyedMutex } from "../../base/index.ts";
import { Contents } from "./contents.ts";

const root = await mkdtemp(path.join(os.tmpdir(), "berth-contents-"));
after(() => rm(root, { recursive: true, force: true }));
const alone = new KeyedMutex();
const volumes = new Contents(path.join(root, "volumes"), alone);
const snapshots = new Contents(path.join(root, "snapshots"), alone);
const FOLDER = { block: false, sizeBytes: 0 };
const { signal } = new AbortController();

test("a directory is copied once, whole, and stays when its source goes", async () => {
  await volumes.make("a", FOLDER);
  writeFileSync(path.join(volumes.path("a"), "file"), "one");
  await snapshots.copy("s", volumes.path("a"), FOLDER, signal);
  writeFileSync(path.join(volumes.path("a"), "file"), "two");
  await snapshots.copy("s", volumes.path("a"), FOLDER, signal);
  await volumes.remove("a");
  await volumes.remove("a");
  assert.equal(readFileSync(path.join(snapshots.path("s"), "file"), "utf8"), "one");
  assert.deepEqual(readdirSync(path.join(root, "snapshots")), ["s"]);
});

test("a file for volumeMode Block has its size, grows, never shrinks, and a copy may be larger", async () => {
  await volumes.make("disk", { block: true, sizeBytes: 4096 });
  await volumes.grow("disk", 1024);
  assert.equal(statSync(volumes.path("disk")).size, 4096);
  await volumes.copy("larger", volumes.path("disk"), { block: true, sizeBytes: 8192 }, signal);
  assert.deepEqual([statSync(volumes.path("larger")).size, statSync(volumes.path("disk")).size], [8192, 4096]);
});

test("nothing is left of a copy that fails", async () => {
  await assert.rejects(volumes.copy("x", path.join(root, "nowhere"), FOLDER, signal), /nowhere does not exist/);
  await volumes.make("source", FOLDER);
  await assert.rejects(volumes.copy("x", volumes.path("source"), FOLDER, AbortSignal.abort()), /abort/i);
  assert.equal(existsSync(volumes.path("x")), false);
  assert.equal(existsSync(volumes.path(".x")), false);
});
