import assert from "node:assert/strict";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { internal, MiB, silentLogger, systemClock } from "../../base/index.ts";
import { Templates, type SaveMachine } from "./template.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), "berth-templates-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const sizeOf = (mebibytes: number, cards = 1) => ({ memoryBytes: mebibytes * MiB, cpus: 1, cards });
const make = (save: SaveMachine) => new Templates(folder, { clock: systemClock, log: silentLogger }, save);
const saves: SaveMachine = (_size, target) => writeFile(path.join(target, "state"), "");

test("a saved machine is found by its size, and made once however many ask", async () => {
  let made = 0;
  const templates = make(async (size, target) => {
    made++;
    await saves(size, target);
  });
  assert.equal(await templates.find(sizeOf(100)), undefined);
  await Promise.all([templates.learn(sizeOf(100)), templates.learn(sizeOf(100))]);
  await templates.learn(sizeOf(100));
  assert.equal(made, 1);
  assert.deepEqual((await templates.find(sizeOf(100)))?.shape, sizeOf(100));
  assert.equal(await templates.find(sizeOf(100, 2)), undefined);
  assert.equal(await templates.find(sizeOf(101)), undefined);
});

test("one that cannot be made is not tried again and leaves nothing; a forgotten one is made anew", async () => {
  let tries = 0;
  const failing = make(async () => {
    tries++;
    throw internal("no");
  });
  await failing.learn(sizeOf(100));
  await failing.learn(sizeOf(100));
  assert.equal(tries, 1);
  assert.deepEqual(await readdir(folder), []);

  const templates = make(saves);
  await templates.learn(sizeOf(100));
  await templates.forget((await templates.find(sizeOf(100)))!);
  assert.equal(await templates.find(sizeOf(100)), undefined);
  await templates.learn(sizeOf(100));
  assert.ok(await templates.find(sizeOf(100)));
});

test("few are kept", async () => {
  const templates = make(saves);
  for (const mebibytes of [100, 101, 102, 103, 104, 105]) await templates.learn(sizeOf(mebibytes));
  assert.equal((await readdir(folder)).length, 4);
  assert.ok(await templates.find(sizeOf(105)));
});
