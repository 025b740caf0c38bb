import assert from "node:assert/strict";
import {
  fstatSync,
  openSync,
  statSync,
  closeSync as closeFd,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";
import { makePipe, reap, run, spawn } from "../process/index.ts";
import { argvOf, groupless } from "./exec.ts";
import { ProcessPipes } from "./pipes.ts";

test("a runtime joins the groups it is given before it starts, and starts in none it cannot join", async () => {
  const directory = mkdtempSync(path.join(os.tmpdir(), "berth-exec-"));
  try {
    const groups = ["a", "b b"].map((name) => path.join(directory, name));
    const request = { crun: "/bin/echo", stateDir: "/state", id: "one", prefix: [], join: groups };
    const { code, stdout } = await run(argvOf(request));
    assert.equal(code, 0);
    assert.match(stdout, /^--root \/state --log=\/proc\/self\/fd\/3 exec --pid-file \/proc\/self\/fd\/4 .* one\n$/);
    for (const group of groups) assert.equal(readFileSync(group, "utf8"), "0\n");

    const missing = { ...request, join: [path.join(directory, "none/tasks")] };
    const refused = await run(argvOf(missing));
    assert.deepEqual([refused.code, refused.stdout], [1, ""]);
    assert.match(refused.stderr, /none\/tasks/);

    const prefixed = argvOf({ ...request, join: [], prefix: ["nsenter", "--"] });
    assert.deepEqual(prefixed.slice(0, 4), ["nsenter", "--", "/bin/echo", "--root"]);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test("the state for execs is the container's but for the group", () => {
  const directory = mkdtempSync(path.join(os.tmpdir(), "berth-exec-"));
  try {
    mkdirSync(path.join(directory, "crun/one"), { recursive: true });
    writeFileSync(path.join(directory, "crun/one/status"), JSON.stringify({ pid: 7, "cgroup-path": "/x" }));
    writeFileSync(path.join(directory, "crun/one/config.json"), "{}");
    const state = groupless(path.join(directory, "crun"), "one", path.join(directory, "exec"));
    const reader = openSync(path.join(state, "one/status"), "r");
    assert.equal(groupless(path.join(directory, "crun"), "one", state), state);
    assert.equal(
      statSync(path.join(state, "one/status")).ino === fstatSync(reader).ino,
      false,
      "who reads it meanwhile has it whole",
    );
    closeFd(reader);
    const status = readFileSync(path.join(state, "one/status"), "utf8");
    assert.deepEqual(JSON.parse(status), { pid: 7, "cgroup-path": "" });
    assert.equal(readFileSync(path.join(state, "one/config.json"), "utf8"), "{}");
    assert.equal(existsSync(path.join(state, "one/seccomp.bpf")), false);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

/** A program over pipes of ours. */
function start(...argv: string[]): { pipes: ProcessPipes; exit: Promise<number> } {
  const [input, out, err] = [makePipe(), makePipe(), makePipe()];
  const fds = new Map([
    [0, input.readFd],
    [1, out.writeFd],
    [2, err.writeFd],
  ]);
  const pid = spawn({ argv, fds });
  for (const fd of fds.values()) closeFd(fd);
  const pipes = new ProcessPipes(out.readFd, err.readFd, input.writeFd);
  return { pipes, exit: reap(pid).finally(() => void pipes.finish()) };
}

test("both outputs whole, input to its end, and a reader that pauses loses nothing", async () => {
  const { pipes, exit } = start("sh", "-c", "wc -c >&2; head -c 400000 /dev/zero");
  const data = Buffer.alloc(300_000);
  if (!pipes.write(data)) await pipes.drained();
  pipes.closeStdin();
  let [bytes, said] = [0, ""];
  pipes.onData((stream, chunk) => {
    if (stream === "stderr") said += chunk.toString();
    else bytes += chunk.length;
    pipes.pause();
    setImmediate(() => pipes.resume());
  });
  assert.equal(await exit, 0);
  await pipes.ended;
  assert.equal(said.trim(), "300000");
  assert.equal(bytes, 400_000);
});

test("what was written before the end is read, however late; a child that keeps the pipe open keeps nobody waiting", async () => {
  const { pipes, exit } = start("sh", "-c", "sleep 60 & echo $!");
  await exit;
  const child = Number(await pipes.text());
  assert.ok(child > 1);
  process.kill(child, "SIGKILL");
});

test("input for a program that reads none is dropped", async () => {
  const { pipes, exit } = start("true");
  void pipes.text();
  await exit;
  await pipes.ended;
  assert.equal(pipes.write(Buffer.from("late")), true);
  await pipes.drained();
});
