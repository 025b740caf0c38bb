/**
 * How fast pods are bound: `node bench/scheduler.ts [--nodes 1000] [--pods 5000] [--case basic | all] [--store memory|sqlite] [--made-before]`.
 *
 * A whole API server (admission, authorization, durable store) and the scheduler in one process. First the case's other pods are placed; then
 * the time from the first creation of a measured pod until the last one is bound is taken, so creating them is in it, as in upstream's
 * scheduler_perf. With `--made-before` they wait for the scheduler, which is the rate of placing and binding alone. Cases with a rate that
 * upstream demands fail below it.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { openCluster } from "../src/apiserver/index.ts";
import { createLogger, systemClock, systemRandom } from "../src/base/index.ts";
import { InformerFactory, KubeClient, resources } from "../src/client/index.ts";
import { Scheduler } from "../src/scheduler/index.ts";
import { openMemoryStore, openSqliteStore } from "../src/storage/index.ts";
import { cases, podOf, type Case } from "./scheduler-cases.ts";

const { values } = parseArgs({
  options: {
    nodes: { type: "string", default: "1000" },
    pods: { type: "string", default: "5000" },
    case: { type: "string", default: "basic" },
    store: { type: "string", default: "sqlite" },
    "made-before": { type: "boolean", default: false },
  },
});
const AT_ONCE = 128;
const CHURN_MS = 200;
const context = {
  clock: systemClock,
  random: systemRandom,
  log: createLogger({ write: (line) => process.stderr.write(line), level: "warn" }),
};

async function inParallel(count: number, task: (index: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      while (next < count) await task(next++);
    }),
  );
}

async function makeNodes(client: KubeClient, count: number, zones: number): Promise<void> {
  const allocatable = { cpu: "4", memory: "32Gi", pods: "110" };
  await inParallel(count, async (index) => {
    const name = `node-${index}`;
    const labels = { "kubernetes.io/hostname": name, "topology.kubernetes.io/zone": `zone-${index % zones}` };
    const made = await client.of(resources.nodes).create({ metadata: { name, labels } });
    // Admission taints new nodes; the node controller, which would take it off, does not run here.
    const node = await client.of(resources.nodes).update({ ...made, spec: { ...made.spec, taints: [] } });
    const conditions = [{ type: "Ready", status: "True" }];
    await client
      .of(resources.nodes)
      .updateStatus({ ...node, status: { allocatable, capacity: allocatable, conditions } });
  });
}

/** Pods bound so far whose names begin so. */
class Bound {
  readonly #waiting: { prefix: string; left: number; resolve: () => void }[] = [];

  constructor(informers: InformerFactory) {
    informers.for(resources.pods).onChange({
      updated: (pod, old) => {
        if (!pod.spec?.nodeName || old.spec?.nodeName) return;
        for (const one of this.#waiting)
          if (pod.metadata.name.startsWith(one.prefix) && --one.left === 0) one.resolve();
      },
    });
  }
  all(prefix: string, count: number): Promise<void> {
    if (count === 0) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push({ prefix, left: count, resolve }));
  }
}

async function measure(name: string, one: Case, nodeCount: number, podCount: number): Promise<boolean> {
  const folder = await mkdtemp(path.join(tmpdir(), "berth-bench-"));
  const store =
    values.store === "memory"
      ? await openMemoryStore()
      : await openSqliteStore({ file: path.join(folder, "store.db"), ...context });
  const cluster = await openCluster({ ...context, store, folder: path.join(folder, "pki") });
  const client = new KubeClient(cluster.handler, {
    user: { name: "bench", groups: ["system:masters", "system:authenticated"] },
  });
  await client.of(resources.serviceAccounts).create({ metadata: { name: "default", namespace: "default" } });
  await client.of(resources.priorityClasses).create({ metadata: { name: "high" }, value: 10 });
  await makeNodes(client, nodeCount, one.zones);
  const make = (kind: Case["pod"], prefix: string, count: number) =>
    inParallel(count, (index) => client.of(resources.pods).create(podOf(withClass(kind), `${prefix}${index}`)));

  const stop = new AbortController();
  const informers = new InformerFactory({ client, ...context });
  const bound = new Bound(informers);
  informers.start(stop.signal);
  const initial = Math.ceil(nodeCount * (one.initial?.perNode ?? 0));
  if (one.initial) await make(one.initial.pod, "first-", initial);
  const before = values["made-before"];
  if (before) await make(one.pod, "pod-", podCount);
  await informers.for(resources.pods).whenSynced();
  let begun = performance.now();
  const placed = [bound.all("first-", initial), bound.all("pod-", podCount)] as const;
  const done = new Scheduler({ client, informers, ...context }).run(stop.signal);
  if (!before) {
    await placed[0];
    begun = performance.now();
    if (one.churn) void churn(client, withClass(one.churn), stop.signal);
    await make(one.pod, "pod-", podCount);
  }
  await placed[1];
  const seconds = (performance.now() - begun) / 1000;
  const rate = Math.round((podCount + (before ? initial : 0)) / seconds);
  const demanded = one.threshold && !before ? ` (upstream demands ${one.threshold})` : "";
  console.log(
    `${name}: ${podCount} pods onto ${nodeCount} nodes in ${seconds.toFixed(2)} s: ${rate} pods/s${demanded}; ${Math.round(process.memoryUsage().rss / 2 ** 20)} MB`,
  );
  stop.abort();
  await done;
  await cluster.close();
  await store.close();
  await rm(folder, { recursive: true, force: true });
  return rate >= (one.threshold ?? 0);
}

/** A priority comes by its class. */
function withClass(kind: Case["pod"]): Case["pod"] {
  if (kind.spec?.priority === undefined) return kind;
  const { priority: _byClass, ...spec } = kind.spec;
  return { ...kind, spec: { ...spec, priorityClassName: "high" } };
}

async function churn(client: KubeClient, kind: Case["pod"], signal: AbortSignal): Promise<void> {
  for (let index = 0; !signal.aborted; index++) {
    await client
      .of(resources.pods)
      .create(podOf(kind, `churn-${index}`))
      .catch(() => {});
    await systemClock.sleep(CHURN_MS, signal).catch(() => {});
  }
}

const chosen = values.case === "all" ? Object.keys(cases) : [values.case];
let held = true;
for (const name of chosen) {
  const one = cases[name];
  if (!one) throw new Error(`no case "${name}"; there are ${Object.keys(cases).join(", ")}`);
  const nodes = Number(values.nodes);
  const pods = Math.min(Number(values.pods), Math.floor(nodes * (one.atMostPerNode ?? Infinity)));
  held = (await measure(name, one, nodes, pods)) && held;
}
process.exit(held ? 0 : 1);
