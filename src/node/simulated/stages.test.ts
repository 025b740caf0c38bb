import assert from "node:assert/strict";
import { test } from "node:test";
import { defaultStages, stagesFrom } from "./stages.ts";

test("a file changes the times of stages and nothing else", () => {
  const stages = stagesFrom({ running: { delayMs: 5, jitterMs: 0 } });
  assert.deepEqual(
    stages.map(({ name }) => name),
    defaultStages.map(({ name }) => name),
  );
  const running = stages.find(({ name }) => name === "running")!;
  assert.deepEqual([running.delayMs({} as never), running.jitterMs], [5, 0]);
  const gone = stages.find(({ name }) => name === "gone")!;
  assert.deepEqual([gone.delayMs({} as never), gone.jitterMs], [200, 200]);
});

test("a stage or a time that there isn't is named", () => {
  assert.throws(() => stagesFrom({ runing: {} }), /no stage "runing"/);
  assert.throws(() => stagesFrom({ running: { delayMs: -1 } }), /stage "running": "delayMs"/);
  assert.throws(() => stagesFrom({ running: { delay: 1 } as never }), /"delay" must be/);
});
