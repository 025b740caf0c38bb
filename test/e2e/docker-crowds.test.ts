/**
 * Many clients at once, who don't behave: execs whose clients go away while the daemon is killed, and clients who fight over one container. Nothing
 * is stuck, and nothing stays behind. BERTH_CROWD_ROUNDS and BERTH_CROWD_SIZE make it longer (1 round of 40; the whole proof: 10 of 200).
 */
import assert from "node:assert/strict";
import fs from "node:fs";
import http from "node:http";
import path from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { kernelName, seededRandom } from "../../src/base/index.ts";
import { startBerth, type TestBerth } from "../support/daemon.ts";
import { importBusybox } from "../support/images.ts";

const ROUNDS = Number(process.env["BERTH_CROWD_ROUNDS"] ?? 1);
const SIZE = Number(process.env["BERTH_CROWD_SIZE"] ?? 40);
const PATIENCE_MS = 60_000;

const random = seededRandom(11);
let berth: TestBerth;

before(async () => {
  berth = await startBerth();
  await importBusybox(berth);
});
after(() => berth?.stop());

/** The status of an answer; 0 when there was none, because the daemon died or the client went away after `abortMs`. */
function ask(
  method: string,
  route: string,
  body?: object,
  abortMs?: number,
): Promise<{ status: number; body: string }> {
  return new Promise((resolve) => {
    const gone = () => resolve({ status: 0, body: "" });
    const headers = { "content-type": "application/json" };
    const request = http.request({ socketPath: berth.dockerSocket, method, path: `/v1.50${route}`, headers });
    request.on("error", gone).on("response", (response) => {
      let text = "";
      response.on("data", (chunk) => (text += String(chunk)));
      response.on("error", gone).on("close", () => resolve({ status: response.statusCode!, body: text }));
    });
    if (abortMs !== undefined) setTimeout(() => request.destroy(), abortMs);
    request.end(body && JSON.stringify(body));
  });
}

/** Waits until nothing of the instance is there that `find` names. */
async function untilNone(what: string, find: () => readonly string[]): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS;
  for (let found = find(); found.length > 0; found = find()) {
    assert.ok(Date.now() < deadline, `${what} left: ${found.join(", ")}`);
    await pause(100);
  }
}

/** Command lines of programs that work for the instance, the daemon and monitors of containers apart. */
function helpers(): string[] {
  return fs
    .readdirSync("/proc")
    .filter((pid) => /^\d+$/.test(pid) && Number(pid) !== berth.pid)
    .flatMap((pid) => {
      try {
        const command = fs.readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim();
        return command.includes(berth.directory) && !/ -c [0-9a-f]{64} -u /.test(command) ? [command] : [];
      } catch {
        return [];
      }
    });
}

test(`${SIZE} execs whose clients go away, and a daemon that is killed among them`, async () => {
  await berth.docker("run", "-d", "--name", "keeper", "--network=none", "busybox", "sleep", "7777");
  for (let round = 0; round < ROUNDS; round++) {
    const one = async () => {
      const config = { Cmd: ["sh", "-c", "echo in; sleep 0.3"], AttachStdout: true, Tty: random.float() < 0.2 };
      const created = await ask("POST", "/containers/keeper/exec", config);
      if (created.status !== 201) return;
      const { Id } = JSON.parse(created.body) as { Id: string };
      await ask("POST", `/exec/${Id}/start`, { Detach: random.float() < 0.2 }, random.float() * 400);
    };
    const crowd = Promise.all(Array.from({ length: SIZE }, one));
    await pause(random.float() * 600);
    await berth.kill();
    await crowd;
    await berth.start();
    assert.equal((await berth.docker("exec", "keeper", "echo", "here")).stdout, "here\n");
    const inside = async () =>
      (await berth.docker("top", "keeper", "-eo", "pid,args")).stdout.trim().split("\n").slice(1);
    const deadline = Date.now() + PATIENCE_MS;
    while ((await inside()).length > 1) {
      assert.ok(Date.now() < deadline, `processes of execs left: ${(await inside()).join(", ")}`);
      await pause(200);
    }
    await untilNone("programs", () => helpers().filter((command) => /conmon|crun/.test(command)));
    assert.deepEqual(JSON.parse((await berth.docker("inspect", "-f", "{{json .ExecIDs}}", "keeper")).stdout), null);
  }
  await berth.docker("rm", "-f", "keeper");
});

test("clients who start, kill, rename and remove one container at the same time", async () => {
  const name = "contested";
  const acts: ((id: string) => Promise<{ status: number }>)[] = [
    (id) => ask("POST", `/containers/${id}/start`),
    (id) => ask("POST", `/containers/${id}/kill`),
    (id) => ask("POST", `/containers/${id}/rename?name=${name}-${Math.floor(random.float() * 3)}`),
    (id) => ask("POST", `/containers/${id}/restart?t=0`),
    (id) => ask("POST", `/containers/${id}/pause`),
    (id) => ask("POST", `/containers/${id}/unpause`),
    (id) => ask("POST", `/containers/${id}/stop?t=0`, undefined, random.float() * 100),
    (id) => ask("DELETE", `/containers/${id}?force=${random.float() < 0.7 ? 1 : 0}`),
  ];
  for (let round = 0; round < ROUNDS * 5; round++) {
    const { body } = await ask("POST", `/containers/create?name=${name}`, { Image: "busybox", Cmd: ["sleep", "8888"] });
    const { Id } = JSON.parse(body) as { Id: string };
    const answers = await Promise.all(
      Array.from({ length: SIZE / 2 }, () => acts[Math.floor(random.float() * acts.length)]!(Id)),
    );
    const odd = answers.filter(({ status }) => ![0, 200, 204, 304, 400, 404, 409].includes(status));
    assert.deepEqual(odd, [], "answers that no client expects");
    await ask("DELETE", `/containers/${Id}?force=1`);
    assert.equal((await ask("GET", `/containers/${Id}/json`)).status, 404);
  }
  assert.equal((await berth.docker("ps", "-aq")).stdout, "");
  const prefix = kernelName(berth.instance);
  await untilNone("links", () => fs.readdirSync("/sys/class/net").filter((link) => link.startsWith(`${prefix}v`)));
  await untilNone("groups", () => fs.globSync([`/sys/fs/cgroup/${prefix}/*/`, `/sys/fs/cgroup/*/${prefix}/*/`]));
  await untilNone("programs", () => helpers().filter((command) => /conmon|crun/.test(command)));
  await untilNone("mounts", () =>
    fs
      .readFileSync("/proc/self/mountinfo", "utf8")
      .split("\n")
      .map((line) => line.split(" ")[4] ?? "")
      .filter(
        (point) =>
          point.startsWith(path.join(berth.runtimeDir, "netns/")) ||
          point.startsWith(path.join(berth.runtimeDir, "containers/")),
      ),
  );
});
