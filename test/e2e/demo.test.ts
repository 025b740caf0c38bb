/** The main job, as a newcomer runs it: the example application is built from its Dockerfile, runs, and answers. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { kernelName } from "../../src/base/index.ts";
import { root, run, startBerth, type TestBerth } from "../support/daemon.ts";

let berth: TestBerth;
before(async () => {
  berth = await startBerth({ start: false });
});
after(() => berth?.stop());

test("berth demo tells its story to a pipe and leaves nothing behind", async () => {
  const { code, stdout, stderr } = await run(path.join(root, "berth"), ["demo", "--yes", "--no-open"], {
    env: berth.env,
    timeoutMs: 300_000,
  });
  assert.equal(code, 0, stdout + stderr);
  assert.match(stdout, /^\$ docker build -t flask-app:latest examples\/flask-app$/m);
  assert.match(stdout, /^ {2}Successfully tagged flask-app:latest$/m);
  assert.match(stdout, /^ {2}Hello from [0-9a-f]{12} \(no greeting set\)$/m);
  assert.ok(!stdout.includes("\u001b"), "no colours in a pipe");
  assert.match(stdout, /^Done in [\d.]+ s\.$/m);
  assert.equal(existsSync(path.join(berth.dataDir, "demo")), false);
  assert.doesNotMatch((await run("ip", ["-o", "link"])).stdout, new RegExp(kernelName("demo")));
});

test("the example is the scenario's application, byte for byte", (t) => {
  const scenario = path.resolve(root, "../shared/scenario/app");
  if (!existsSync(scenario)) return t.skip(`${scenario} is not here`);
  const own = path.join(root, "examples/flask-app");
  const files = readdirSync(scenario).toSorted();
  assert.deepEqual(readdirSync(own).toSorted(), files);
  for (const file of files)
    assert.deepEqual(readFileSync(path.join(own, file)), readFileSync(path.join(scenario, file)), file);
});
