import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "../base/index.ts";
import { SettledWork } from "./settled-work.ts";

test("changes that arrive together are one run, runs do not overlap, and none comes after the end", async () => {
  const clock = new FakeClock();
  const log: string[] = [];
  let gate = Promise.withResolvers<void>();
  const work = new SettledWork(clock, 5, async () => {
    log.push("begin");
    await gate.promise;
    log.push("end");
  });
  work.touch();
  work.touch();
  await clock.advance(4);
  assert.deepEqual(log, []);
  await clock.advance(1);
  assert.deepEqual(log, ["begin"]);
  const second = work.now();
  gate.resolve();
  gate = Promise.withResolvers<void>();
  gate.resolve();
  await second;
  assert.deepEqual(log, ["begin", "end", "begin", "end"]);
  await work.close();
  work.touch();
  await clock.advance(100);
  await work.now();
  assert.equal(log.length, 4);
});
