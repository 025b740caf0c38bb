import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { ruleset } from "./ruleset.ts";

test("the table is the one that was reviewed", () => {
  const golden = readFileSync(path.join(import.meta.dirname, "testdata/ruleset.golden"), "utf8");
  assert.equal(ruleset("berth0000"), golden);
});
