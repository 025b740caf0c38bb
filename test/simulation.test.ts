import assert from "node:assert/strict";
import { test } from "node:test";
import { simulate } from "./simulation/simulation.ts";

/** More of them: `node bench/simulation.ts --seeds 1000`. */
const SEEDS = 10;
/** Seeds that once broke an invariant. */
const ONCE_BROKEN = [215, 223, 435, 515, 720, 747, 935];

test("whatever the network does, pods converge, none is bound twice, and watches are complete", async () => {
  for (const seed of [...Array.from({ length: SEEDS }, (_, at) => at + 1), ...ONCE_BROKEN]) {
    const report = await simulate(seed);
    assert.ok(report.events > 0);
  }
});

test("a seed replays exactly", async () => {
  assert.deepEqual(await simulate(4711), await simulate(4711));
});
