import assert from "node:assert/strict";
import { test } from "node:test";
import { simulate } from "./simulation/simulation.ts";

/** More of them: `node bench/simulation.ts --seeds 1000`. */
const SEEDS = 10;

test("whatever the network does, pods converge, none is bound twice, and watches are complete", async () => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const report = await simulate(seed);
    assert.ok(report.events > 0);
  }
});

test("a seed replays exactly", async () => {
  assert.deepEqual(await simulate(4711), await simulate(4711));
});
