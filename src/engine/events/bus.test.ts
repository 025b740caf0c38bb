import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "../../base/index.ts";
import { MemoryEventBus } from "./bus.ts";
import type { EventQuery } from "./types.ts";

async function actions(bus: MemoryEventBus, query: EventQuery): Promise<string[]> {
  const seen = [];
  for await (const event of bus.subscribe(query)) seen.push(event.Action);
  return seen;
}

test("until when: parts of a second count, what was is told, and it ends", async () => {
  const clock = new FakeClock(1_000_000);
  const bus = new MemoryEventBus(clock);
  bus.publish("container", "create", "c1");
  await clock.advance(200);
  bus.publish("container", "start", "c1");
  const coming = actions(bus, { untilMs: 1_000_700.5 });
  await clock.advance(500);
  bus.publish("container", "die", "c1");
  await clock.advance(1);
  bus.publish("container", "destroy", "c1");
  assert.deepEqual(await coming, ["create", "start", "die"]);
  assert.deepEqual(await actions(bus, { sinceMs: 1_000_100, untilMs: 1_000_250 }), ["start"]);
  assert.deepEqual(await actions(bus, { sinceMs: 1_000_701, untilMs: 1_000_701 }), ["destroy"]);
});
