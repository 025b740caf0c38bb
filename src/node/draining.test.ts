import assert from "node:assert/strict";
import { test } from "node:test";
import type { k8s } from "../api/index.ts";
import { FakeClock, settle } from "../base/index.ts";
import type { Stored } from "../client/index.ts";
import { drained, podsOfSlice } from "./draining.ts";

const pod = { metadata: { name: "a", uid: "u" } } as k8s.Pod;
const slice = (ready: boolean) =>
  ({
    addressType: "IPv4",
    endpoints: [{ addresses: ["10.0.0.1"], conditions: { ready }, targetRef: { kind: "Pod", uid: "u" } }],
  }) as unknown as Stored<k8s.EndpointSlice>;

async function stateAfter(waits: { ms: number; ready?: boolean }[]): Promise<boolean[]> {
  const clock = new FakeClock();
  let now = slice(true);
  let done = false;
  void drained({ byIndex: () => [now] }, clock, pod).then(() => (done = true));
  const seen: boolean[] = [];
  for (const { ms, ready = true } of waits) {
    now = slice(ready);
    await clock.advance(ms);
    await settle();
    seen.push(done);
  }
  return seen;
}

test("a Pod is drained a moment after its endpoint is gone", async () => {
  assert.deepEqual(podsOfSlice(slice(true)), ["u"]);
  assert.deepEqual(await stateAfter([{ ms: 500 }, { ms: 100, ready: false }, { ms: 200, ready: false }]), [
    false,
    false,
    true,
  ]);
});

test("an endpoint that stays holds its Pod only so long", async () => {
  assert.deepEqual(await stateAfter([{ ms: 1_900 }, { ms: 400 }]), [false, true]);
});

test("a Pod that no Service has as an endpoint isn't held", async () => {
  await drained({ byIndex: () => [] }, new FakeClock(), pod);
});
