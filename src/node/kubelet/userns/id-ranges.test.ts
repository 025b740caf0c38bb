import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";
import { IDS_PER_POD, IdRanges } from "./id-ranges.ts";

test("each Pod has its own range, the same after a restart, free again when its folder is gone", async (t) => {
  const root = await mkdtemp(path.join(os.tmpdir(), "berth-ranges-"));
  t.after(() => rm(root, { recursive: true, force: true }));
  const ranges = new IdRanges(root);
  const [a, b] = await Promise.all([ranges.of("a"), ranges.of("b")]);
  assert.equal(b - a, IDS_PER_POD);
  assert.ok(b + IDS_PER_POD < 2 ** 31);
  assert.equal(await new IdRanges(root).of("b"), b);
  await rm(path.join(root, "a"), { recursive: true });
  assert.equal(await ranges.of("c"), a);
});
