import assert from "node:assert/strict";
import { test } from "node:test";

import { FailedPodBackoff } from "./backoff.ts";

test("a node on which a Pod fails again and again is tried ever more seldom, up to a quarter of an hour", () => {
  const backoff = new FailedPodBackoff();
  assert.equal(backoff.next("a", 0), 0);
  assert.equal(backoff.next("a", 400), 600);
  assert.equal(backoff.next("b", 400), 0, "each node by itself");
  let nowMs = 1000;
  const delays: number[] = [];
  for (let turn = 0; turn < 12; turn++) {
    assert.equal(backoff.next("a", nowMs), 0);
    const waitMs = backoff.next("a", nowMs);
    delays.push(waitMs);
    nowMs += waitMs;
  }
  assert.deepEqual(delays.slice(0, 4), [2000, 4000, 8000, 16_000]);
  assert.equal(delays.at(-1), 900_000);
  nowMs += 3_600_000;
  assert.equal(backoff.next("a", nowMs), 0);
  assert.equal(backoff.next("a", nowMs), 1000, "what has long been well begins anew");
});
