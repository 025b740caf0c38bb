/**
 * Monitors and the daemon are killed at seeded moments of a machine's life (BERTH_VM_KILL_ROUNDS rounds, BERTH_VM_KILL_SEED): afterwards the machine works, what its guest had
 * flushed is there, and nothing is left behind on the host.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { startBerth, type TestBerth } from "../support/daemon.ts";
import { machinesOf, until } from "../support/machines.ts";

const ROUNDS = Number(process.env["BERTH_VM_KILL_ROUNDS"] ?? 3);
const SEED = Number(process.env["BERTH_VM_KILL_SEED"] ?? 1);
/** What follows a kill, on a busy machine. */
const REST_MS = 60_000;
let berth: TestBerth;
let vms: ReturnType<typeof machinesOf>;

before(async () => {
  berth = await startBerth();
  vms = machinesOf(berth);
  const made = await berth.berth("image", "bootstrap", "busybox");
  assert.equal(made.code, 0, made.stderr);
});
after(() => berth.stop());

/** mulberry32: the same numbers for the same seed. */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Processes whose command line names this instance's runtime directory, but for the daemon and its children's launchers. */
function programs(): string[] {
  const found: string[] = [];
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      const line = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
      if (line.includes(path.join(berth.runtimeDir, "machines"))) found.push(line.slice(0, 120));
    } catch {
      // It ended meanwhile.
    }
  }
  return found;
}

/** What machines leave on the host while they run, and must not leave afterwards. */
function leftovers(): string[] {
  const folder = (name: string) => {
    try {
      return readdirSync(path.join(berth.runtimeDir, "machines", name));
    } catch {
      return [];
    }
  };
  // The instance's own mount namespace for runtimes stays as long as the instance.
  const own = path.join(berth.runtimeDir, "machines/ns");
  const mounts = readFileSync("/proc/mounts", "utf8")
    .split("\n")
    .filter((line) => line.includes(berth.directory) && !line.includes(own))
    .filter((line) => line.includes("/machines/") || line.includes("/vm-"));
  const half = readdirSync(path.join(berth.dataDir, "machines/vms"), { recursive: true }) as string[];
  return [
    ...programs(),
    ...mounts,
    ...folder("run"),
    ...folder("containers"),
    ...half.filter((name) => /\.new$|\.copy-/.test(name)),
  ];
}

test(`${ROUNDS} kills with seed ${SEED}: nothing that was flushed is lost, nothing is left behind`, async () => {
  const { vm, done, inspect } = vms;
  const random = numbers(SEED);
  await done("create", "oci:busybox", "--name", "kill", "--memory", "96m", "--", "sleep", "1000000");
  let written = 0;
  let snapshots = 0;
  const sh = (script: string) => done("exec", "kill", "--", "sh", "-c", script);
  const append = async () => {
    await sh(`echo ${written + 1} >>/log; sync; (dd if=/dev/zero of=/noise bs=64k count=100 >/dev/null 2>&1 &)`);
    written++;
  };
  for (let round = 0; round < ROUNDS; round++) {
    const where = `round ${round} of seed ${SEED}`;
    if ((await inspect("kill")).state !== "running") await done("start", "kill", "--wait");
    // One that was killed within its start goes on booting.
    await until(`the agent (${where})`, async () => (await vm("exec", "kill", "--", "true")).code === 0);
    const lines = (await sh("cat /log 2>/dev/null; true")).split("\n").filter((line) => line !== "");
    assert.deepEqual(
      lines,
      Array.from({ length: written }, (_item, index) => String(index + 1)),
      where,
    );
    await append();

    const actions: ReadonlyArray<readonly string[]> = [
      ["stop", "--time", "10", "kill"],
      ["restart", "--time", "10", "kill"],
      ["snapshot", "create", "kill", `s${snapshots++}`],
      ["backup", "create", "kill"],
      ["create", "oci:busybox", "--name", `other${round}`, "--memory", "96m"],
      ["pause", "kill"],
      ["export", "kill", path.join(berth.directory, "out.qcow2")],
      ["save", "kill"],
    ];
    const action = actions[Math.floor(random() * actions.length)]!;
    const target = random() < 0.5 ? "daemon" : "monitor";
    const delayMs = Math.floor(random() * 1500);
    const { pid } = await inspect("kill");
    const acting = vm(...action);
    await new Promise((resolve) => setTimeout(resolve, delayMs));
    if (target === "daemon") {
      await berth.kill();
      await acting;
      await berth.start();
    } else {
      try {
        process.kill(pid!, "SIGKILL");
      } catch {
        // It had ended by itself.
      }
      await acting;
    }
    await until(`the machine to come to rest (${where}: ${target} at ${delayMs} ms of ${action.join(" ")})`, async () =>
      ["running", "paused", "stopped", "crashed", "saved"].includes((await inspect("kill")).state),
    );
    const { state } = await inspect("kill");
    if (state === "paused") await done("resume", "kill");
    for (const { name } of JSON.parse(await done("ls", "--json")) as Array<{ name: string }>)
      if (name !== "kill") await done("rm", "--force", name);
    if ((await inspect("kill")).state === "running") continue;
    try {
      await until("nothing left", async () => leftovers().length === 0, REST_MS);
    } catch (cause) {
      const what = `${target} at ${delayMs} ms of ${action.join(" ")}`;
      throw new Error(`left in ${where} (${what}): ${leftovers().join("; ")}`, { cause });
    }
  }
  if ((await inspect("kill")).state !== "running") await done("start", "kill", "--wait");
  await done("stop", "kill");
  await done("rm", "kill");
  assert.deepEqual(leftovers(), []);
});
