import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";
import { FakeClock } from "../../../base/index.ts";
import { LOOK_EVERY_MS, MonitorWatch } from "./monitors.ts";

test("a monitor that is gone, or whose pid is another process' by now, is told once; one that runs, ended well or has no file yet is not", async () => {
  const directory = mkdtempSync(path.join(os.tmpdir(), "berth-monitors-"));
  try {
    const processes = new Map([
      [10, 100],
      [11, 110],
      [12, 120],
      [13, 130],
    ]);
    const clock = new FakeClock();
    const watch = new MonitorWatch(clock, (pid) => processes.get(pid));
    const gone: string[] = [];
    const ended = new AbortController();
    for (const [name, pid] of Object.entries({ runs: 10, killed: 11, reused: 12, ended: 13, dead: 14 })) {
      writeFileSync(path.join(directory, name), String(pid));
      const { signal } = name === "ended" ? ended : new AbortController();
      watch.add(path.join(directory, name), () => gone.push(name), signal);
    }
    watch.add(path.join(directory, "none"), () => gone.push("none"), new AbortController().signal);
    await clock.advance(LOOK_EVERY_MS);
    assert.deepEqual(gone, ["dead"]);
    processes.delete(11);
    processes.set(12, 999);
    ended.abort();
    processes.delete(13);
    await clock.advance(LOOK_EVERY_MS);
    assert.deepEqual(gone, ["dead", "killed", "reused"]);
    await clock.advance(3 * LOOK_EVERY_MS);
    assert.deepEqual(gone, ["dead", "killed", "reused"]);
    watch.close();
    processes.clear();
    await clock.advance(LOOK_EVERY_MS);
    assert.equal(gone.length, 3);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
