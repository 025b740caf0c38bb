import assert from "node:assert/strict";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";
import { readFacts, writeFacts } from "./facts.ts";

test("writes of one file at once do not trip each other up, and the last one stays", async () => {
  const folder = await mkdtemp(path.join(os.tmpdir(), "berth-facts-"));
  try {
    const file = path.join(folder, "record.json");
    await Promise.all(Array.from({ length: 50 }, (_none, number) => writeFacts(file, { number })));
    assert.deepEqual(await readFacts(file), { number: 49 });
    assert.deepEqual(await readdir(folder), ["record.json"]);
    await assert.rejects(writeFacts(path.join(folder, "none", "record.json"), {}), { code: "ENOENT" });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
