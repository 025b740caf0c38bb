/** Runs the seeded simulation of the control plane: `node bench/simulation.ts [--seeds 1000] [--from 1]`. Prints the first seed that breaks. */
import { parseArgs } from "node:util";
import { simulate } from "../test/simulation/simulation.ts";

const { values } = parseArgs({
  options: { seeds: { type: "string", default: "1000" }, from: { type: "string", default: "1" } },
});
const from = Number(values.from);
const begun = performance.now();
let events = 0;
let restarts = 0;
for (let seed = from; seed < from + Number(values.seeds); seed++) {
  try {
    const report = await simulate(seed);
    events += report.events;
    restarts += report.restarts;
  } catch (error) {
    console.error(`seed ${seed} broke an invariant; replay it with --from ${seed} --seeds 1`);
    throw error;
  }
}
console.log(
  `${values.seeds} seeds held every invariant: ${events} pod events, ${restarts} crashes, ${((performance.now() - begun) / 1000).toFixed(0)} s`,
);
