import assert from "node:assert/strict";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";
import { FakeClock } from "../../../base/index.ts";
import type { cri } from "../pod/imports.ts";
import { silentLogger } from "../testing/fake-api.ts";
import { ImageGc } from "./image-gc.ts";
import { rotateLogs } from "./log-rotation.ts";

test("a log beyond its size is rotated; the oldest go, all but the newest are compressed", async (t) => {
  const folder = await mkdtemp(path.join(os.tmpdir(), "berth-logs-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const logPath = path.join(folder, "0.log");
  const clock = new FakeClock();
  let reopened = 0;
  const runtime = {
    listContainers: async () => [{ id: "c" }] as cri.Container[],
    containerStatus: async () => ({ logPath }) as cri.ContainerStatus,
    reopenContainerLog: async () => void reopened++,
  };
  const options = { runtime, clock, log: silentLogger, maxBytes: 100, maxFiles: 3 };
  await writeFile(logPath, "x".repeat(100));
  await rotateLogs(options);
  assert.equal(reopened, 0);
  for (let round = 1; round <= 4; round++) {
    await writeFile(logPath, "x".repeat(101));
    await rotateLogs(options);
    await clock.advance(1_000);
  }
  await writeFile(logPath, "new");
  const names = (await readdir(folder)).toSorted();
  assert.equal(reopened, 4);
  assert.equal(names.length, 3);
  assert.equal(names[0], "0.log");
  assert.match(names[1]!, /^0\.log\.\d{8}-\d{6}\.\d{3}\.gz$/);
  assert.match(names[2]!, /^0\.log\.\d{8}-\d{6}\.\d{3}$/);
});

test("images that nothing uses go when the disk fills, the longest unused first, local ones never", async () => {
  const clock = new FakeClock();
  const removed: string[] = [];
  let used = 0.9;
  const image = (id: string, local = false) => ({ id, repoTags: [id], sizeBytes: 10, local, pinned: false });
  const all = [image("old"), image("recent"), image("running"), image("built", true)];
  let running = ["recent", "running"];
  const gc = new ImageGc({
    images: {
      listImages: async () => all.filter(({ id }) => !removed.includes(id)),
      removeImage: async ({ image: id }: { image: string }) => {
        removed.push(id);
        used -= 0.06;
      },
    } as unknown as cri.ImageService,
    runtime: { listContainers: async () => running.map((imageId) => ({ imageId }) as cri.Container) },
    clock,
    log: silentLogger,
    diskUsed: async () => used,
  });
  await gc.round();
  assert.deepEqual(removed, [], "too young");
  running = ["running"];
  await clock.advance(121_000);
  await gc.round();
  assert.deepEqual(removed, ["old", "recent"]);
});
