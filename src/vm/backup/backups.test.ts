import assert from "node:assert/strict";
import { test } from "node:test";
import { checkPolicy, expired, isDue } from "./index.ts";

test("a backup is kept as long as one that is kept is based on it", () => {
  const chain = [
    { id: "a" },
    { id: "b", parent: "a" },
    { id: "c", parent: "b" },
    { id: "d" },
    { id: "e", parent: "d" },
  ];
  assert.deepEqual(expired(chain, 5), []);
  assert.deepEqual(expired(chain, 3), []);
  assert.deepEqual(expired(chain, 2), ["c", "b", "a"]);
  assert.deepEqual(expired(chain.slice(0, 3), 1), []);
});

test("a scheduled backup is due when its time has come, counted from the last one or the machine's making", () => {
  const backupPolicy = { everyMs: 3_600_000, keep: 3 };
  assert.equal(isDue({ createdMs: 0 }, 1e9), false);
  assert.equal(isDue({ createdMs: 0, backupPolicy }, 3_599_999), false);
  assert.equal(isDue({ createdMs: 0, backupPolicy }, 3_600_000), true);
  assert.equal(isDue({ createdMs: 0, backupPolicy, lastBackupMs: 3_000_000 }, 3_600_000), false);
});

test("policies that nobody means are refused", () => {
  assert.throws(() => checkPolicy({ everyMs: 1, keep: 1 }), /each minute/);
  assert.throws(() => checkPolicy({ everyMs: 60_000, keep: 0 }), /cannot be kept/);
});
