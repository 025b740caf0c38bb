import assert from "node:assert/strict";
import { test } from "node:test";
import type { cri } from "../../api/index.ts";
import { changes } from "./events.ts";

const look = (states: Record<string, cri.ContainerState>) =>
  new Map(Object.entries(states).map(([id, state]) => [id, { id, podSandboxId: "p", state } as cri.Container]));
const told = (before: Record<string, cri.ContainerState>, now: Record<string, cri.ContainerState>) =>
  changes(look(before), look(now), 7).map(({ containerId, type }) => `${containerId} ${type}`);

test("what changed between two looks becomes events", () => {
  assert.deepEqual(told({}, { a: "CONTAINER_CREATED" }), ["a CONTAINER_CREATED_EVENT"]);
  assert.deepEqual(told({ a: "CONTAINER_CREATED" }, { a: "CONTAINER_RUNNING" }), ["a CONTAINER_STARTED_EVENT"]);
  assert.deepEqual(told({ a: "CONTAINER_RUNNING" }, { a: "CONTAINER_EXITED" }), ["a CONTAINER_STOPPED_EVENT"]);
  assert.deepEqual(told({ a: "CONTAINER_EXITED" }, {}), ["a CONTAINER_DELETED_EVENT"]);
  assert.deepEqual(told({ a: "CONTAINER_RUNNING" }, { a: "CONTAINER_RUNNING" }), []);
});

test("what came and ended between two looks is told as ended", () => {
  assert.deepEqual(told({}, { a: "CONTAINER_EXITED" }), ["a CONTAINER_STOPPED_EVENT"]);
});
