import assert from "node:assert/strict";
import { test } from "node:test";
import { notFound } from "../../base/index.ts";
import type { ControllerContext } from "../controller.ts";
import { isGoing, isMade, PendingWrites } from "./pending-writes.ts";

const { signal } = new AbortController();
interface Shown {
  uid: string;
  deletionTimestamp?: string;
}

/** What the server holds and what the informer shows of the pod `default/db-1`. */
function harness() {
  const state: { live?: Shown; shown?: Shown; asked: number } = { asked: 0 };
  const object = (metadata: Shown | undefined) => (metadata === undefined ? undefined : { metadata });
  const get = () => {
    state.asked++;
    return state.live === undefined ? Promise.reject(notFound("no such pod")) : Promise.resolve(object(state.live));
  };
  const context = { client: { of: () => ({ get }) }, informer: () => ({ get: () => object(state.shown) }) };
  const writes = new PendingWrites(context as unknown as ControllerContext);
  return { state, writes, seen: () => writes.areSeen("default/db", signal) };
}
const one = { uid: "one" };
const going = { uid: "one", deletionTimestamp: "2026-01-01T00:00:00Z" };

test("a set waits until the informer shows the pod that was made", async () => {
  const { state, writes, seen } = harness();
  assert.equal(await seen(), true);
  writes.add("default/db", "default/db-1", isMade("one"));
  state.live = one;
  assert.equal(await seen(), false);
  state.shown = one;
  state.asked = 0;
  assert.deepEqual([await seen(), state.asked], [true, 0]);
});

test("a set waits until the informer shows the pod going that was deleted", async () => {
  const { state, writes, seen } = harness();
  writes.add("default/db", "default/db-1", isGoing("one"));
  Object.assign(state, { live: going, shown: one });
  assert.equal(await seen(), false);
  state.shown = going;
  assert.equal(await seen(), true);
});

test("a write without an answer is looked for on the server", async () => {
  const { state, writes, seen } = harness();
  writes.add("default/db", "default/db-1");
  state.live = one;
  assert.equal(await seen(), false, "it was made, and the cache doesn't know");
  state.shown = one;
  assert.equal(await seen(), true);
  writes.add("default/db", "default/db-1");
  state.live = undefined;
  assert.equal(await seen(), false, "it was deleted, and the cache doesn't know");
});

test("what never came to be is not waited for", async () => {
  const { writes, seen } = harness();
  writes.add("default/db", "default/db-1");
  assert.equal(await seen(), true);
});
