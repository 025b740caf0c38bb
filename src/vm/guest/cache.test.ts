import assert from "node:assert/strict";
import { mkdtemp, readdir, rm, utimes, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";
import { FakeClock } from "../../base/index.ts";
import { forgetUnused, touch } from "./cache.ts";

const DAY_S = 24 * 3600;

test("what nobody used for a week goes, and what is too many", async () => {
  const folder = await mkdtemp(path.join(os.tmpdir(), "berth-cache-"));
  try {
    const clock = new FakeClock();
    const nowS = clock.nowMs() / 1000;
    const ages = { "a.cpio": 0, "b.cpio": 2, "c.cpio": 3, "d.cpio": 8, other: 30 };
    for (const [name, days] of Object.entries(ages)) {
      await writeFile(path.join(folder, name), "");
      await utimes(path.join(folder, name), nowS - days * DAY_S, nowS - days * DAY_S);
    }
    await forgetUnused(folder, /\.cpio$/, 3, clock);
    assert.deepEqual((await readdir(folder)).sort(), ["a.cpio", "b.cpio", "c.cpio", "other"]);
    await touch(path.join(folder, "c.cpio"), clock);
    await forgetUnused(folder, /\.cpio$/, 2, clock);
    assert.deepEqual((await readdir(folder)).sort(), ["a.cpio", "c.cpio", "other"]);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
