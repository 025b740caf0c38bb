/**
 * The daemon is killed (kill -9) at seeded moments while Pods come and go on three nodes: those that stay run on untouched, and in no node's namespace anything
 * is left of those that went. `BERTH_NODE_FAULT_ROUNDS` and `BERTH_FAULT_SEED` choose how many and which.
 */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { instanceTag, seededRandom } from "../../src/base/index.ts";
import { run } from "../support/daemon.ts";
import { shell, startPods, type PodObject, type PodTests } from "../support/pods.ts";

const ROUNDS = Number(process.env["BERTH_NODE_FAULT_ROUNDS"] ?? 2);
const SEED = Number(process.env["BERTH_FAULT_SEED"] ?? 1);
/** Each waits for a node to come and go. */
const KILLS_OF_CHANGES = Math.ceil(ROUNDS / 2);
const NODES = 3;
const MOST = 5;
const LONGEST_WAIT_MS = 600;
const CONVERGE_MS = 90_000;

let k: PodTests;
before(async () => {
  k = await startPods({ env: { BERTH_NODES: String(NODES) } });
});
after(async () => {
  if (!k) return;
  await k.berth.stop();
  const { stdout } = await run("ip", ["link"]);
  assert.ok(!stdout.includes(prefixOfNames()), `links are left: ${stdout}`);
});

const list = (folder: string) => {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
};
const folderOf = (index: number, name: string) => (index === 1 ? name : `${name}-${index}`);

/** Shows what a node's namespace has. The machine's has other people's things too. */
async function inNode(index: number, ...command: string[]): Promise<string> {
  const enter = index === 1 ? [] : ["nsenter", `--net=${k.berth.runtimeDir}/nodes/${index}`];
  const [program, ...rest] = [...enter, ...command];
  const { code, stdout, stderr } = await run(program!, rest);
  assert.equal(code, 0, stderr);
  return stdout;
}

async function pods(): Promise<PodObject[]> {
  const { code, stdout } = await k.try("get", "pods", "-o", "json");
  return code === 0 ? (JSON.parse(stdout) as { items: PodObject[] }).items : [];
}

interface Node {
  readonly name: string;
  readonly index: number;
  /** `10.1.2.` */
  readonly prefix: string;
}

async function nodes(): Promise<Node[]> {
  const { items } = JSON.parse(await k.kubectl("get", "nodes", "-o", "json")) as {
    items: { metadata: { name: string; labels: Record<string, string> }; spec: { podCIDR: string } }[];
  };
  return items.map(({ metadata, spec }) => ({
    name: metadata.name,
    index: Number(metadata.labels["berth.dev/local-node"] ?? 1),
    prefix: spec.podCIDR.replace(/\d+\/24$/, ""),
  }));
}

/** What is wrong still: Pods that are not ready, and anything of Pods that are not there. */
async function oddities(all: readonly Node[], wanted: number): Promise<string | undefined> {
  const found = await pods();
  const ready = (pod: PodObject) =>
    pod.status.conditions?.some(({ type, status }) => type === "Ready" && status === "True");
  const waiting = found.filter((pod) => !ready(pod)).map((pod) => `${pod.metadata.name} ${pod.status.phase}`);
  if (found.length !== wanted || waiting.length > 0) return `${found.length} Pods, not ready: ${waiting.join()}`;
  const sandboxes = list(path.join(k.berth.runtimeDir, "sandboxes"));
  if (sandboxes.length !== wanted) return `${sandboxes.length} sandboxes for ${wanted} Pods`;
  for (const { name, index, prefix } of all) {
    const here = found.filter(({ spec }) => spec.nodeName === name);
    const folders = list(path.join(k.berth.dataDir, folderOf(index, "kubelet"), "pods")).toSorted();
    const uids = here.map(({ metadata }) => metadata.uid).toSorted();
    if (folders.join() !== uids.join()) return `${name}: folders of Pods ${folders.join()}, Pods ${uids.join()}`;
    const wires = await inNode(index, "ip", "-o", "link", "show", "type", "veth");
    const ofPods = wires.split("\n").filter((line) => line.includes(` ${prefixOfNames()}q`));
    if (ofPods.length !== here.length) return `${name}: for ${here.length} Pods the wires ${ofPods.join("\n")}`;
    const rules = await ownRules(index);
    const known = new Set(here.map(({ status }) => status.podIP));
    const strange = [...rules.matchAll(/\d+\.\d+\.\d+\.\d+(?![\d/])/g)]
      .map(([address]) => address)
      .filter((address) => address.startsWith(prefix) && !/\.[01]$/.test(address) && !known.has(address));
    if (strange.length > 0) return `${name}: rules name addresses of no Pod: ${[...new Set(strange)].join()}`;
  }
  return undefined;
}

const prefixOfNames = () => `berth${instanceTag(k.berth.instance)}`;

/** On the machine there are others' too. */
async function ownRules(index: number): Promise<string> {
  const tables = (await inNode(index, "nft", "list", "tables"))
    .split("\n")
    .filter((line) => line.includes(prefixOfNames()));
  const listed = await Promise.all(tables.map((table) => inNode(index, "nft", "list", ...table.trim().split(" "))));
  return listed.join("\n");
}

async function settled(all: readonly Node[], wanted: number, what: string): Promise<void> {
  const deadline = Date.now() + CONVERGE_MS;
  for (let odd = await oddities(all, wanted); odd !== undefined; odd = await oddities(all, wanted)) {
    if (Date.now() > deadline) assert.fail(`${what} (seed ${SEED}): ${odd}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

function deployment(name: string, replicas: number) {
  const spread = { maxSkew: 1, topologyKey: "kubernetes.io/hostname", whenUnsatisfiable: "ScheduleAnyway" };
  const labels = { app: name };
  const spec = {
    terminationGracePeriodSeconds: 1,
    topologySpreadConstraints: [{ ...spread, labelSelector: { matchLabels: labels } }],
    containers: [shell("main", "trap 'exit 0' TERM; while :; do sleep 0.2; done")],
  };
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name },
    spec: { replicas, selector: { matchLabels: labels }, template: { metadata: { labels }, spec } },
  };
}

/** Which containers run, by Pod, and how often they were started anew. */
async function running(): Promise<Map<string, string>> {
  const found = await pods();
  return new Map(
    found
      .filter(({ metadata }) => metadata.name.startsWith("stay-"))
      .map(({ metadata, status }) => {
        const [one] = status.containerStatuses!;
        return [metadata.name, `${one!.containerID} ${one!.restartCount}`];
      }),
  );
}

test(`${ROUNDS} kills, seed ${SEED}: Pods that stay are untouched, and nothing is left of the others`, async () => {
  const seeded = seededRandom(SEED);
  const random = () => seeded.float();
  const below = (limit: number) => Math.floor(random() * limit);
  const all = await nodes();
  assert.equal(all.length, NODES);
  const service = { selector: { app: "churn" }, ports: [{ port: 80 }] };
  await k.apply(deployment("stay", NODES), deployment("churn", MOST), {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "churn" },
    spec: service,
  });
  await settled(all, NODES + MOST, "the start");
  const before = await running();
  for (let round = 0; round < ROUNDS; round++) {
    const wanted = below(MOST + 1);
    await k.kubectl("delete", "pod", "-l", "app=churn", "--wait=false");
    await k.kubectl("scale", "deployment/churn", `--replicas=${wanted}`);
    await new Promise((resolve) => setTimeout(resolve, below(LONGEST_WAIT_MS)));
    await k.berth.kill();
    await k.berth.start();
    await settled(all, NODES + wanted, `round ${round}`);
    assert.deepEqual(await running(), before, `round ${round} (seed ${SEED}): the Pods that stay`);
  }
  await k.kubectl("delete", "deployment", "stay", "churn");
  await settled(all, 0, "the end");
});

/** The numbers of the nodes of which something is on this machine, besides the machine itself. */
async function traces(): Promise<string> {
  const { dataDir, runtimeDir } = k.berth;
  const numbers = [dataDir, runtimeDir].flatMap((folder) => [
    ...list(folder).flatMap((name) => /^(?:cri|kubelet)-(\d+)$/.exec(name)?.[1] ?? []),
    ...list(path.join(folder, "podnet")).filter((name) => /^\d+$/.test(name)),
    ...list(path.join(folder, "nodes")).filter((name) => /^\d+$/.test(name)),
  ]);
  const { stdout } = await run("ip", ["-o", "link", "show", "type", "veth"]);
  const wires = [...stdout.matchAll(new RegExp(`${prefixOfNames()}u(\\d+)`, "g"))].map(([, number]) => number!);
  return [...new Set([...numbers, ...wires])]
    .filter((number) => number !== "1")
    .toSorted()
    .join();
}

/** As `berth node ls` says, with the numbers of those that the cluster calls Ready. */
async function rosterAndReady(): Promise<{ names: string[]; ready: string[] }> {
  const { stdout } = await k.berth.berth("node", "ls", "--json");
  const names = (JSON.parse(stdout) as { name: string }[]).map(({ name }) => name);
  const { items } = JSON.parse(await k.kubectl("get", "nodes", "-o", "json")) as {
    items: { metadata: { name: string }; status: { conditions: { type: string; status: string }[] } }[];
  };
  const isReady = (one: (typeof items)[number]) =>
    one.status.conditions.some(({ type, status }) => type === "Ready" && status === "True");
  return {
    names: names.toSorted(),
    ready: items
      .filter(isReady)
      .map(({ metadata }) => metadata.name)
      .toSorted(),
  };
}

test(`nodes are added and removed at once, and ${KILLS_OF_CHANGES} times the daemon is killed meanwhile: whole or gone`, async () => {
  const seeded = seededRandom(SEED);
  const random = () => seeded.float();
  const node = (...words: string[]) => k.berth.berth("node", ...words);
  const added = await Promise.all([node("add"), node("add")]);
  assert.deepEqual(
    added.map(({ code }) => code),
    [0, 0],
    added.map(({ stderr }) => stderr).join(),
  );
  const [first = "", second = ""] = added.map(({ stdout }) => stdout.trim());
  assert.notEqual(first, second);
  const removed = await Promise.all([node("remove", first), node("remove", first)]);
  assert.equal(removed.filter(({ code }) => code === 0).length, 1);
  assert.match(removed.map(({ stderr }) => stderr).join(""), /no local node is called/);
  for (let round = 0; round < KILLS_OF_CHANGES; round++) {
    const others = (await rosterAndReady()).names.slice(NODES);
    const change = round % 2 === 0 ? node("remove", others.at(-1)!) : node("add");
    await new Promise((resolve) => setTimeout(resolve, random() * LONGEST_WAIT_MS));
    await k.berth.kill();
    await change;
    await k.berth.start();
    const deadline = Date.now() + CONVERGE_MS;
    for (;;) {
      const { names, ready } = await rosterAndReady();
      const there = await traces();
      const numbers = (await nodes()).map(({ index }) => index).filter((index) => index > 1);
      if (names.join() === ready.join() && there === numbers.toSorted((one, other) => one - other).join()) break;
      if (Date.now() > deadline)
        assert.fail(`round ${round} (seed ${SEED}): nodes ${names.join()}, Ready ${ready.join()}, traces of ${there}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    if (round % 2 === 0 && (await rosterAndReady()).names.length === NODES) assert.equal((await node("add")).code, 0);
  }
  for (const name of (await rosterAndReady()).names.slice(NODES)) assert.equal((await node("remove", name)).code, 0);
  assert.equal(await traces(), "2,3");
});
