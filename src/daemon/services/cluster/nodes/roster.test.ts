import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { hasCode } from "../../../../base/index.ts";
import { MAX_LOCAL_NODES } from "../../../../node/index.ts";
import { Roster } from "./roster.ts";

const folder = mkdtempSync(path.join(tmpdir(), "berth-roster-"));
after(() => rmSync(folder, { recursive: true }));

test("nodes have the lowest free number, and are there again at the next start", () => {
  const roster = new Roster(folder, "berth");
  assert.deepEqual(roster.add(), { index: 2, name: "berth-2", stopped: false });
  roster.add();
  roster.mark("berth-3", true);
  roster.remove("berth-2");
  assert.deepEqual(
    new Roster(folder, "berth").entries().map(({ name, stopped }) => [name, stopped]),
    [
      ["berth", false],
      ["berth-3", true],
    ],
  );
  assert.equal(new Roster(folder, "berth").add().name, "berth-2");
  const full = new Roster(folder, "berth");
  while (full.entries().length < MAX_LOCAL_NODES) full.add();
  assert.throws(
    () => full.add(),
    (error) => hasCode(error, "resourceExhausted"),
  );
});

test("what a node elsewhere is made of is there again at the next start", () => {
  const own = path.join(folder, "elsewhere");
  const size = { cpus: 2, memoryBytes: 2 ** 31 };
  const entry = new Roster(own, "berth").add({ kind: "machine", size });
  assert.deepEqual(new Roster(own, "berth").find("berth-2"), entry);
  assert.deepEqual(entry.elsewhere, { kind: "machine", size });
});
