import assert from "node:assert/strict";
import { test } from "node:test";
import { notFound } from "../../base/index.ts";
import type { ControllerContext } from "../controller.ts";
import { PendingCreations } from "./creations.ts";

const { signal } = new AbortController();

/** What the server holds and what the informer shows of the pod `default/db-1`: uids. */
function harness() {
  const state: { live?: string; shown?: string; asked: number } = { asked: 0 };
  const object = (uid: string | undefined) => (uid === undefined ? undefined : { metadata: { uid } });
  const get = () => {
    state.asked++;
    return state.live === undefined ? Promise.reject(notFound("no such pod")) : Promise.resolve(object(state.live));
  };
  const context = { client: { of: () => ({ get }) }, informer: () => ({ get: () => object(state.shown) }) };
  const creations = new PendingCreations(context as unknown as ControllerContext);
  return { state, creations, seen: () => creations.areSeen("default/db", signal) };
}

test("a set waits until the informer shows the pod that was made", async () => {
  const { state, creations, seen } = harness();
  assert.equal(await seen(), true);
  creations.add("default/db", "default/db-1", "one");
  state.live = "one";
  assert.equal(await seen(), false);
  state.shown = "one";
  state.asked = 0;
  assert.deepEqual([await seen(), state.asked], [true, 0]);
});

test("a creation without an answer is looked for on the server", async () => {
  const { state, creations, seen } = harness();
  creations.add("default/db", "default/db-1");
  state.live = "one";
  assert.equal(await seen(), false, "it was made, and the cache doesn't know");
  state.shown = "one";
  assert.equal(await seen(), true);
});

test("a pod that never came to be, or is gone again, is not waited for", async () => {
  const { creations, seen } = harness();
  creations.add("default/db", "default/db-1");
  assert.equal(await seen(), true);
});
