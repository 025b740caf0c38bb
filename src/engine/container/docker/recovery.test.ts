import assert from "node:assert/strict";
import { test } from "node:test";
import { KeyedMutex } from "../../../base/index.ts";
import type { Lifecycle } from "./lifecycle.ts";
import type { ContainerParts } from "./parts.ts";
import { recoverContainers } from "./recovery.ts";

test("a snapshot of a creation that a crash cut short goes; those of others and of known containers stay", async () => {
  const removed: string[] = [];
  const docker = { "berth.owner": "docker" };
  const snapshots = {
    list: () => [
      { key: "known", labels: docker },
      { key: "cut-short", labels: docker },
      { key: "of-a-pod", labels: {} },
    ],
    remove: async (key: string) => void removed.push(key),
  };
  const record = { id: "known", state: { status: "created", startedMs: 0 }, hostConfig: {}, mounts: [] };
  const parts = {
    deps: { snapshots },
    store: { list: () => [record], byId: (id: string) => (id === "known" ? record : undefined) },
    launcher: { down: async () => {} },
    lock: new KeyedMutex(),
  } as unknown as ContainerParts;
  await recoverContainers(parts, {} as Lifecycle, []);
  assert.deepEqual(removed, ["cut-short"]);
});
