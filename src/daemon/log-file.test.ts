import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { openLogFile } from "./log-file.ts";

const directory = mkdtempSync(path.join(os.tmpdir(), "berth-log-"));
after(() => rmSync(directory, { recursive: true }));

test("the log turns over by size, keeps some generations, and goes on after a restart", () => {
  const file = path.join(directory, "daemon.log");
  const options = { maxBytes: 12, kept: 2 };
  const first = openLogFile(file, options);
  for (const line of ["one\n", "two\n", "three\n", "four\n", "fifth\n"]) first.write(line);
  first.close();
  const second = openLogFile(file, options);
  second.write("six\n");
  second.close();
  assert.deepEqual(readdirSync(directory).sort(), ["daemon.log", "daemon.log.1", "daemon.log.2"]);
  assert.equal(readFileSync(file, "utf8"), "fifth\nsix\n");
  assert.equal(readFileSync(`${file}.1`, "utf8"), "three\nfour\n");
});
