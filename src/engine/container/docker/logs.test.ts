import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { readLogs, type LogQuery } from "./logs.ts";

let folder: string;
let file: string;
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "berth-logs-"));
  file = path.join(folder, "ctr.log");
});
afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

/** A line of second `second`, as conmon writes it. */
const line = (second: number) =>
  `2026-01-01T00:00:${String(second).padStart(2, "0")}.500000000+00:00 stdout F ${second}\n`;
const write = (...seconds: number[]) => fs.appendFileSync(file, seconds.map(line).join(""));
const names = () => [`${file}.2`, `${file}.1`, file];
const at = (second: number) => Date.UTC(2026, 0, 1, 0, 0, second);
const both = { stdout: true, stderr: true };
const never = new AbortController().signal;

function rotate(): void {
  if (fs.existsSync(`${file}.1`)) fs.renameSync(`${file}.1`, `${file}.2`);
  fs.renameSync(file, `${file}.1`);
}

async function read(query: Partial<LogQuery>, ended = AbortSignal.abort()): Promise<number[]> {
  const seen = [];
  for await (const entry of readLogs(names(), { ...both, ...query }, ended, never)) seen.push(Number(entry.text));
  return seen;
}

test("since, until and tail over rotated files", async () => {
  write(1, 2);
  rotate();
  write(3);
  rotate();
  write(4, 5);
  assert.deepEqual(await read({}), [1, 2, 3, 4, 5]);
  assert.deepEqual(await read({ sinceMs: at(3) }), [3, 4, 5]);
  assert.deepEqual(await read({ sinceMs: at(3) + 500 }), [3, 4, 5], "at the very moment");
  assert.deepEqual(await read({ untilMs: at(3) }), [1, 2]);
  assert.deepEqual(await read({ untilMs: at(3) + 500 }), [1, 2, 3], "at the very moment");
  assert.deepEqual(await read({ sinceMs: at(2), untilMs: at(4) }), [2, 3]);
  assert.deepEqual(await read({ tail: 3 }), [3, 4, 5]);
  assert.deepEqual(await read({ tail: 0 }), []);
  assert.deepEqual(
    await read({ tail: 3, untilMs: at(4) }),
    [3],
    "the last lines are counted before the end is looked for",
  );
  fs.rmSync(`${file}.1`);
  assert.deepEqual(await read({}), [1, 2, 4, 5], "a file that is not there is left out");
});

test("the time that a client was told of a line names that line, to the last digit that numbers hold", async () => {
  for (let nano = 1; nano < 1e9; nano += 1_234_567) {
    const fraction = String(nano).padStart(9, "0");
    fs.writeFileSync(file, `2026-01-01T00:00:00.${fraction}+00:00 stdout F 1\n`);
    const ms = Number(`${at(0) / 1000}.${fraction}`) * 1000;
    assert.deepEqual(await read({ sinceMs: ms, untilMs: ms }), [1], fraction);
  }
});

test("who follows gets every line once, however the log is rotated meanwhile", async () => {
  write(1);
  const ended = new AbortController();
  const seen: number[] = [];
  const steps: (() => void)[] = [
    () => write(2),
    () => {
      // Written into the old file after the reader saw its end, and moved away before it looks again.
      write(3);
      rotate();
      write(4);
    },
    () => {
      write(5);
      rotate();
      write(6);
      rotate();
      write(7);
    },
    () => ended.abort(),
  ];
  for await (const entry of readLogs(names(), { ...both, follow: true }, ended.signal, never)) {
    seen.push(Number(entry.text));
    if ([1, 2, 4, 7].includes(seen.at(-1)!)) setImmediate(steps.shift()!);
  }
  assert.deepEqual(seen, [1, 2, 3, 4, 5, 6, 7]);
});

test("a look in the middle of a rotation finds the file that is followed, and the one after it", async () => {
  const rotations = 300;
  const ended = new AbortController();
  let last = 0;
  let seen = 0;
  const rotating = async () => {
    for (let index = 0; index < rotations; index++) {
      write(++last % 60);
      // One name after the other, as the daemon does it, and the reader meanwhile.
      await fs.promises.rename(`${file}.1`, `${file}.2`).catch(() => {});
      await fs.promises.rename(file, `${file}.1`);
      write(++last % 60);
      while (seen < last) await new Promise(setImmediate);
    }
    ended.abort();
  };
  write(++last);
  const writer = rotating();
  for await (const entry of readLogs(names(), { ...both, follow: true }, ended.signal, never)) {
    assert.equal(Number(entry.text), ++seen % 60);
  }
  await writer;
  assert.equal(seen, last);
});

test("who follows the only file of a log reads it to its end when another takes its place", async () => {
  write(1);
  const ended = new AbortController();
  const seen: number[] = [];
  for await (const entry of readLogs([file], { ...both, follow: true }, ended.signal, never)) {
    seen.push(Number(entry.text));
    if (seen.length === 1) {
      write(2);
      fs.rmSync(file);
      write(3);
    } else if (seen.length === 3) ended.abort();
  }
  assert.deepEqual(seen, [1, 2, 3]);
});

test("--tail with --follow, and an end in time", async () => {
  write(1, 2, 3);
  const seen: number[] = [];
  for await (const entry of readLogs(names(), { ...both, follow: true, tail: 1, untilMs: at(5) }, never, never)) {
    seen.push(Number(entry.text));
    if (seen.length === 1) write(4, 5);
  }
  assert.deepEqual(seen, [3, 4]);
});
