/** What users of Docker rely on without knowing it, by the real docker CLI. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { startBerth, type TestBerth } from "../support/daemon.ts";
import { importBusybox } from "../support/images.ts";

let berth: TestBerth;
let scratch: string;

before(async () => {
  berth = await startBerth();
  scratch = mkdtempSync(path.join(berth.directory, "scratch-"));
  await importBusybox(berth);
});
after(() => berth?.stop());

const out = async (...args: string[]) => (await berth.docker(...args)).stdout.trimEnd();

const latin1 = (text: string) => Buffer.from(text, "latin1");

test("names of files that aren't UTF-8 pass through build, commit, diff and cp", async () => {
  const context = path.join(scratch, "names");
  mkdirSync(context);
  writeFileSync(latin1(`${context}/caf\xe9`), "from the context");
  writeFileSync(path.join(context, "Dockerfile"), "FROM busybox\nCOPY . /c/\n");
  await berth.docker("build", "-q", "-t", "names", context);
  const script =
    'cat /c/$(printf "caf\\351"); mkdir /$(printf "d\\377"); echo x > /$(printf "d\\377/e\\376"); rm /c/caf*';
  assert.equal(await out("run", "--name", "names", "--network=none", "names", "sh", "-c", script), "from the context");
  assert.deepEqual((await out("diff", "names")).split("\n").sort(), [
    "A /d\uFFFD",
    "A /d\uFFFD/e\uFFFD",
    "C /c",
    "D /c/caf\uFFFD",
  ]);
  await berth.docker("commit", "names", "names:2");
  const look = 'cat /$(printf "d\\377/e\\376"); ls /c';
  assert.equal(await out("run", "--rm", "--network=none", "names:2", "sh", "-c", look), "x\nDockerfile");
  const target = path.join(scratch, "copied");
  mkdirSync(target);
  // By a shell: node's own arguments are text.
  execFileSync("sh", ["-c", `docker cp "names:/$(printf 'd\\377')" ${target} && docker cp ${target}/. names:/tmp`], {
    env: berth.env,
  });
  assert.deepEqual(readdirSync(target, "latin1"), ["d\xff"]);
  assert.match(
    execFileSync("docker", ["cp", "names:/tmp", "-"], { env: berth.env }).toString("latin1"),
    /tmp\/d\xff\/e\xfe/,
  );
});
