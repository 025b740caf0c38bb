/** The main job, as a newcomer runs it: the example is built from its Dockerfile, runs, and is served by a cluster that heals and scales it. */
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
    env: { ...berth.env, BERTH_KUBERNETES: "1" },
    timeoutMs: 300_000,
  });
  assert.equal(code, 0, stdout + stderr);
  assert.match(stdout, /^\$ docker build -t flask-app:latest examples\/flask-app$/m);
  assert.match(stdout, /^ {2}Successfully tagged flask-app:latest$/m);
  assert.match(stdout, /^ {2}Hello from [0-9a-f]{12} \(no greeting set\)$/m);
  assert.match(stdout, /^ {2}deployment\.apps\/flask-app created\n {2}service\/flask-service created$/m);
  assert.equal(stdout.match(/^ +\d+ Hello from flask-app-[0-9a-z]+-[0-9a-z]{5} \(no greeting set\)$/gm)?.length, 3);
  assert.match(stdout, /^ {2}flask-app-\S+ +1\/1 +Running +1 \(\d+s ago\)/m, "the killed container is back");
  assert.match(stdout, /^ {2}pod "flask-app-\S+" deleted$/m);
  assert.equal(stdout.match(/^ {2}\d+ requests meanwhile, 0 failed$/gm)?.length, 2, "the roll and the way back");
  assert.match(stdout, /^ {2}Hello from flask-app-\S+ \(version 2\)$/m);
  assert.match(stdout, /^ {2}10 Pods answer$[^]*^ {2}3 Pods answer$/m);
  assert.equal(stdout.match(/^ {2}flask-app +Deployment\/flask-app +cpu: \d+%\/50% +3 +6 /gm)?.length, 2);
  assert.ok(!stdout.includes("\u001b"), "no colours in a pipe");
  assert.match(stdout, /^Done in [\d.]+ s\.$/m);
  assert.equal(existsSync(path.join(berth.dataDir, "demo")), false);
  assert.doesNotMatch((await run("ip", ["-o", "link"])).stdout, new RegExp(kernelName(`${berth.instance}-demo`)));
});

test("the example is the scenario's application, byte for byte", (t) => {
  const scenario = path.resolve(root, "../shared/scenario");
  if (!existsSync(scenario)) return t.skip(`${scenario} is not here`);
  const own = path.join(root, "examples/flask-app");
  const files = [...readdirSync(path.join(scenario, "app")).map((name) => path.join("app", name)), "deployment.yaml"];
  assert.deepEqual(readdirSync(own).toSorted(), files.map((file) => path.basename(file)).toSorted());
  for (const file of files)
    assert.deepEqual(readFileSync(path.join(own, path.basename(file))), readFileSync(path.join(scenario, file)), file);
});
