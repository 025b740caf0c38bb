/** kill -9 during writes, seeded: no acknowledged write is lost, no watch has a gap, and the store opens again. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { randomInt, seededRandom } from "../../src/base/index.ts";
import { openSqliteStore } from "../../src/storage/index.ts";

const ROUNDS = Number(process.env["BERTH_KILL_ROUNDS"] ?? 25);
const ROUNDS_PER_STORE = 10;
const WRITERS = 16;

if (process.argv[2] === "--write") await write(process.argv[3]!);
else test(`${ROUNDS} kills lose nothing that was acknowledged`, { timeout: 60_000 + ROUNDS * 6000 }, run);

/** Writes until killed; reports each acknowledged key with its revision on a line of its own. */
async function write(file: string): Promise<void> {
  const store = await openSqliteStore({ file });
  const start = await store.revision();
  process.stdout.write("ready\n");
  let next = 0;
  const writer = async () => {
    for (;;) {
      const key = `/k/${start}/${next++}`;
      const { revision } = await store.commit([{ key, modRevision: 0 }], [{ key, value: Buffer.alloc(500, key) }], []);
      process.stdout.write(`${key} ${revision}\n`);
    }
  };
  await Promise.all(Array.from({ length: WRITERS }, writer));
}

async function run(): Promise<void> {
  const folder = mkdtempSync(path.join(tmpdir(), "berth-kill-"));
  const random = seededRandom(20261121);
  let total = 0;
  try {
    let acknowledged = new Map<string, number>();
    for (let round = 0; round < ROUNDS; round++) {
      // A new store now and then: each round checks everything that its store holds.
      if (round % ROUNDS_PER_STORE === 0) acknowledged = new Map();
      const file = path.join(folder, `${Math.floor(round / ROUNDS_PER_STORE)}.db`);
      for (const [key, revision] of await writeAndKill(file, 5 + randomInt(random, 60))) {
        acknowledged.set(key, revision);
        total++;
      }
      await verify(file, acknowledged);
    }
    assert.ok(total > ROUNDS, `only ${total} writes were acknowledged`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function writeAndKill(file: string, afterMs: number): Promise<Array<[string, number]>> {
  const child = spawn(
    process.execPath,
    ["--disable-warning=ExperimentalWarning", import.meta.filename, "--write", file],
    {
      stdio: ["ignore", "pipe", "inherit"],
    },
  );
  let text = "";
  let armed = false;
  child.stdout.on("data", (chunk: Buffer) => {
    text += chunk.toString();
    if (!armed && text.includes("ready\n")) {
      armed = true;
      setTimeout(() => child.kill("SIGKILL"), afterMs);
    }
  });
  return new Promise((resolve) => {
    child.once("close", () => {
      // The last line may be cut off.
      const lines = text.split("\n").slice(1, -1);
      resolve(lines.map((line) => line.split(" ")).map(([key, revision]) => [key!, Number(revision)]));
    });
  });
}

async function verify(file: string, acknowledged: ReadonlyMap<string, number>): Promise<void> {
  await using store = await openSqliteStore({ file });
  const { kvs, revision } = await store.range("/k/");
  const held = new Map(kvs.map(({ key, modRevision }) => [key, modRevision]));
  for (const [key, at] of acknowledged) assert.equal(held.get(key), at, `${key} was acknowledged at ${at}`);
  let next = 1;
  for await (const batch of store.watch("/k/", 1)) {
    for (const { kv } of batch.events) assert.equal(kv.modRevision, next++, "the watch has a gap");
    if (next > revision) break;
  }
}
