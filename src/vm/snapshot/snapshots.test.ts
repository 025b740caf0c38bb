import assert from "node:assert/strict";
import { test } from "node:test";
import type { MachineRecord, SnapshotRecord } from "../machine/record.ts";
import { withoutSnapshot } from "./index.ts";

const snapshot = (name: string, parent?: string) => ({ name, ...(parent ? { parent } : {}) }) as SnapshotRecord;

test("what hangs on a deleted snapshot hangs on its parent afterwards, the machine too", () => {
  const snapshots = [snapshot("a"), snapshot("b", "a"), snapshot("c", "b")];
  const record = { snapshots, snapshot: "b" } as unknown as MachineRecord;
  const after = withoutSnapshot(record, snapshots[1]!);
  assert.equal(after.snapshot, "a");
  assert.deepEqual(
    after.snapshots.map(({ name, parent }) => [name, parent]),
    [
      ["a", undefined],
      ["c", "a"],
    ],
  );
  const root = withoutSnapshot(record, snapshots[0]!);
  assert.equal(root.snapshots[0]!.parent, undefined);
});
