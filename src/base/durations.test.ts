import assert from "node:assert/strict";
import { test } from "node:test";
import { parseDurationMs } from "./durations.ts";

test("Go's durations", () => {
  const rows: [string, number | undefined][] = [
    ["0", 0],
    ["1h30m", 5_400_000],
    ["1.5s", 1500],
    ["2m0.5s", 120_500],
    ["250ms", 250],
    ["3us", 0.003],
    ["", undefined],
    ["10", undefined],
    ["-1s", undefined],
    ["1d", undefined],
    ["1s ", undefined],
  ];
  for (const [text, ms] of rows) assert.equal(parseDurationMs(text), ms, text);
});
