import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { Catalog } from "./catalog.ts";

test("what could not be written has not happened; room is kept for writing that an image is gone", async () => {
  const folder = mkdtempSync(path.join(tmpdir(), "berth-catalog-"));
  try {
    const catalog = await Catalog.open(folder);
    catalog.names.set("a", { image: "sha256:1", taggedMs: 1 });
    await catalog.save();
    assert.ok(existsSync(path.join(folder, "images.json.reserve")));
    // A file that cannot be replaced, whoever runs the test.
    rmSync(path.join(folder, "images.json"));
    mkdirSync(path.join(folder, "images.json"));
    catalog.names.set("b", { image: "sha256:2", taggedMs: 2 });
    catalog.names.delete("a");
    await assert.rejects(catalog.save());
    assert.deepEqual([...catalog.names.keys()], ["a"]);
    assert.deepEqual(readdirSync(folder).sort(), ["images.json", "images.json.reserve"]);
    rmSync(path.join(folder, "images.json"), { recursive: true });
    catalog.names.set("c", { image: "sha256:3", taggedMs: 3 });
    await catalog.save();
    assert.deepEqual([...(await Catalog.open(folder)).names.keys()], ["a", "c"]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
