/**
 * Seeded faults under a Deployment: the daemon, container monitors and containers die by kill -9, Pods are deleted, the disk fills; everything converges and
 * nothing is leaked. `BERTH_FAULT_ROUNDS` and `BERTH_FAULT_SEED` choose how many and which.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { seededRandom } from "../../src/base/index.ts";
import { run, startBerth } from "../support/daemon.ts";
import { podTests, shell, type PodObject, type PodTests } from "../support/pods.ts";

const ROUNDS = Number(process.env["BERTH_FAULT_ROUNDS"] ?? 10);
const SEED = Number(process.env["BERTH_FAULT_SEED"] ?? 1);
const REPLICAS = 4;
const CONVERGE_MS = 90_000;

let k: PodTests;
before(async () => {
  // A full disk is met by errors here, not by eviction: that is another test's, and keeps a node tainted for minutes.
  const env = { BERTH_EVICTION_HARD: "memory.available<10Mi" };
  const berth = await startBerth({ kubernetes: true, start: false, env });
  // A small disk of its own, so that filling it harms nobody else.
  const mounted = await run("mount", [
    "-t",
    "tmpfs",
    "-o",
    "size=512m,mode=755",
    "berth-faults",
    await made(berth.dataDir),
  ]);
  assert.equal(mounted.code, 0, mounted.stderr);
  k = podTests(berth);
  await berth.start();
  assert.equal((await berth.berth("image", "bootstrap", "busybox")).code, 0);
});
after(async () => {
  await k?.berth.down();
  const data = k?.berth.dataDir;
  try {
    await run("umount", ["-R", "-l", data]);
  } finally {
    await k?.berth.stop();
  }
});

async function made(folder: string): Promise<string> {
  await run("mkdir", ["-p", folder]);
  return folder;
}

const containers = () => path.join(k.berth.runtimeDir, "containers");
const list = (folder: string) => {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
};

/** Kills the process whose number stands in a file of some container's bundle. */
function killOne(random: () => number, file: string): void {
  const ids = list(containers());
  const id = ids[Math.floor(random() * ids.length)];
  if (id === undefined) return;
  try {
    const pid = Number(readFileSync(path.join(containers(), id, file), "utf8"));
    if (pid > 1) process.kill(pid, "SIGKILL");
  } catch {
    // It went by itself.
  }
}

const faults: Record<string, (random: () => number) => Promise<void> | void> = {
  container: (random) => killOne(random, "pid"),
  monitor: (random) => killOne(random, "conmon.pid"),
  daemon: async () => {
    await k.berth.kill();
    await k.berth.start();
  },
  pod: async (random) => {
    const pods = (await k.kubectl("get", "pods", "-o", "name")).trim().split("\n");
    await k.try("delete", pods[Math.floor(random() * pods.length)]!, "--wait=false", "--grace-period=0", "--force");
  },
  disk: async () => {
    const filler = path.join(k.berth.dataDir, "filler");
    await run("dd", ["if=/dev/zero", `of=${filler}`, "bs=1M"]);
    await k.try("rollout", "restart", "deployment/web");
    await new Promise((resolve) => setTimeout(resolve, 500));
    rmSync(filler, { force: true });
  },
};

async function pods(): Promise<PodObject[]> {
  const { code, stdout } = await k.try("get", "pods", "-o", "json");
  return code === 0 ? (JSON.parse(stdout) as { items: PodObject[] }).items : [];
}

/** As many Pods as wanted, all ready, and in the runtime exactly theirs. */
async function converged(): Promise<string | undefined> {
  const all = await pods();
  const isReady = (pod: PodObject) =>
    pod.status.conditions?.some(({ type, status }) => type === "Ready" && status === "True");
  const odd = all.filter((pod) => !isReady(pod));
  if (all.length !== REPLICAS || odd.length > 0)
    return `${all.length - odd.length} of ${all.length} Pods are ready; not: ${odd.map((pod) => JSON.stringify([pod.metadata, pod.status])).join("\n")}`;
  const uids = all.map((pod) => pod.metadata.uid).toSorted();
  const sandboxes = list(path.join(k.berth.runtimeDir, "sandboxes"));
  if (sandboxes.length !== REPLICAS) return `${sandboxes.length} sandboxes for ${REPLICAS} Pods`;
  const folders = list(path.join(k.berth.dataDir, "kubelet/pods")).toSorted();
  if (folders.join() !== uids.join()) return `folders of Pods that are gone: ${folders.join(" ")}`;
  return undefined;
}

test(`${ROUNDS} faults, seed ${SEED}: everything converges, nothing is leaked`, async () => {
  const seeded = seededRandom(SEED);
  const random = () => seeded.float();
  const container = shell("main", "trap 'exit 0' TERM; while :; do sleep 0.2; done");
  await k.apply({
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: "web" },
    spec: {
      replicas: REPLICAS,
      selector: { matchLabels: { app: "web" } },
      template: {
        metadata: { labels: { app: "web" } },
        spec: { terminationGracePeriodSeconds: 1, containers: [container] },
      },
    },
  });
  const names = Object.keys(faults);
  await settle("the start");
  for (let round = 0; round < ROUNDS; round++) {
    const name = names[Math.floor(random() * names.length)]!;
    await faults[name]!(random);
    // Containers that died twice wait for their back-off: a new Pod has none.
    if (name === "container" || name === "monitor") await replaceCrashed();
    await settle(`round ${round}: ${name}`);
  }
  await k.kubectl("delete", "deployment", "web");
  await k.kubectl("wait", "--for=delete", "pod", "-l", "app=web", "--timeout=30s");
  const left = () => [
    ...list(containers()),
    ...list(path.join(k.berth.runtimeDir, "sandboxes")),
    ...list(path.join(k.berth.runtimeDir, "cri")),
    ...list(path.join(k.berth.dataDir, "kubelet/pods")),
    ...list(path.join(k.berth.dataDir, "cri/containers")),
  ];
  const deadline = Date.now() + 45_000;
  while (left().length > 0 && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 200));
  assert.deepEqual(left(), []);
});

async function replaceCrashed(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 300));
  for (const pod of await pods())
    if (pod.status.containerStatuses?.some(({ state }) => state.waiting?.reason === "CrashLoopBackOff"))
      await k.try("delete", "pod", pod.metadata.name, "--wait=false");
}

async function settle(what: string): Promise<void> {
  const deadline = Date.now() + CONVERGE_MS;
  for (let problem = await converged(); problem !== undefined; problem = await converged()) {
    if (Date.now() > deadline) {
      writeFileSync(path.join(os.tmpdir(), "berth-faults.log"), k.berth.daemonLog());
      assert.fail(`${what} (seed ${SEED}): ${problem}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}
