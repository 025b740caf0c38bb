import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";
import { Records } from "./records.ts";

test("records survive a restart; one that cannot be written is none, a change that cannot be written holds", async (t) => {
  const root = await mkdtemp(path.join(os.tmpdir(), "berth-records-"));
  t.after(() => rm(root, { recursive: true, force: true }));
  const folder = path.join(root, "records");
  const records = new Records<{ id: string; state: string }>(folder);
  await records.load();
  await records.put({ id: "a", state: "new" });
  const again = new Records<{ id: string; state: string }>(folder);
  await again.load();
  assert.deepEqual(again.all(), [{ id: "a", state: "new" }]);

  await rm(folder, { recursive: true });
  await assert.rejects(records.put({ id: "b", state: "new" }));
  assert.equal(records.get("b"), undefined);
  await records.put({ id: "a", state: "ended" });
  assert.equal(records.get("a")?.state, "ended");
});
