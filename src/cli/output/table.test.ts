import assert from "node:assert/strict";
import { test } from "node:test";
import { humanDuration } from "../../base/index.ts";
import { size, table } from "./table.ts";

test("columns are as wide as their widest cell", () => {
  assert.equal(
    table(
      ["NAME", "ID"],
      [
        ["a", "1"],
        ["longer", "2"],
      ],
    ),
    "NAME     ID\na        1\nlonger   2",
  );
});

test("sizes have three digits and decimal units", () => {
  assert.deepEqual([0, 999, 1000, 1_234_567, 173_000_000].map(size), ["0B", "999B", "1kB", "1.23MB", "173MB"]);
});

test("durations are told as docker tells them", () => {
  const second = 1000;
  const minute = 60 * second;
  assert.deepEqual(
    [0, second, 59 * second, minute, 5 * minute, 60 * minute, 5 * 60 * minute, 72 * 60 * minute].map(humanDuration),
    [
      "Less than a second",
      "1 second",
      "59 seconds",
      "About a minute",
      "5 minutes",
      "About an hour",
      "5 hours",
      "3 days",
    ],
  );
});
