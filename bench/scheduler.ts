/**
 * How fast pods are bound: `node bench/scheduler.ts [--nodes 1000] [--pods 5000] [--case basic|spread|affinity|anti-affinity|deployment] [--store memory|sqlite]`.
 *
 * A whole API server (admission, authorization, durable store), the scheduler and nothing else in one process; pods are created before the
 * scheduler starts, then the time until the last one is bound is taken, binding through the API included.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import type { k8s } from "../src/api/index.ts";
import { openCluster } from "../src/apiserver/index.ts";
import { createLogger, systemClock, systemRandom } from "../src/base/index.ts";
import { InformerFactory, KubeClient, resources } from "../src/client/index.ts";
import { Scheduler } from "../src/scheduler/index.ts";
import { openMemoryStore, openSqliteStore } from "../src/storage/index.ts";

const { values } = parseArgs({
  options: {
    nodes: { type: "string", default: "1000" },
    pods: { type: "string", default: "5000" },
    case: { type: "string", default: "basic" },
    store: { type: "string", default: "sqlite" },
  },
});
const nodeCount = Number(values.nodes);
const podCount = Number(values.pods);
const AT_ONCE = 128;

const cases: Record<string, (index: number) => Partial<k8s.PodSpec>> = {
  basic: () => ({}),
  spread: () => ({
    topologySpreadConstraints: [
      {
        topologyKey: "topology.kubernetes.io/zone",
        maxSkew: 5,
        whenUnsatisfiable: "DoNotSchedule",
        labelSelector: { matchLabels: { app: "bench" } },
      },
    ],
  }),
  affinity: () => affinity("podAffinity", "topology.kubernetes.io/zone"),
  "anti-affinity": () => affinity("podAntiAffinity", "kubernetes.io/hostname"),
};
function affinity(kind: "podAffinity" | "podAntiAffinity", topologyKey: string): Partial<k8s.PodSpec> {
  return {
    affinity: {
      [kind]: {
        requiredDuringSchedulingIgnoredDuringExecution: [
          { topologyKey, labelSelector: { matchLabels: { app: "bench" } } },
        ],
      },
    },
  };
}

async function inParallel(count: number, task: (index: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      while (next < count) await task(next++);
    }),
  );
}

const folder = await mkdtemp(path.join(tmpdir(), "berth-bench-"));
const context = {
  clock: systemClock,
  random: systemRandom,
  log: createLogger({ write: (line) => process.stderr.write(line), level: "warn" }),
};
const store =
  values.store === "memory"
    ? await openMemoryStore()
    : await openSqliteStore({ file: path.join(folder, "store.db"), ...context });
const cluster = await openCluster({ ...context, store, folder: path.join(folder, "pki") });
const client = new KubeClient(cluster.handler, {
  user: { name: "bench", groups: ["system:masters", "system:authenticated"] },
});
await client.of(resources.serviceAccounts).create({ metadata: { name: "default", namespace: "default" } });

const allocatable = { cpu: "64", memory: "256Gi", pods: "500" };
await inParallel(nodeCount, async (index) => {
  const name = `node-${index}`;
  const labels = { "kubernetes.io/hostname": name, "topology.kubernetes.io/zone": `zone-${index % 10}` };
  const made = await client.of(resources.nodes).create({ metadata: { name, labels } });
  // Admission taints new nodes; the node controller, which would take it off, does not run here.
  const node = await client.of(resources.nodes).update({ ...made, spec: { ...made.spec, taints: [] } });
  const conditions = [{ type: "Ready", status: "True" }];
  await client
    .of(resources.nodes)
    .updateStatus({ ...node, status: { allocatable, capacity: allocatable, conditions } });
});
const created = performance.now();
await inParallel(podCount, (index) =>
  client.of(resources.pods).create({
    metadata: { name: `pod-${index}`, namespace: "default", labels: { app: "bench" } },
    spec: {
      containers: [{ name: "main", image: "pause", resources: { requests: { cpu: "100m", memory: "128Mi" } } }],
      ...cases[values.case]!(index),
    },
  }),
);
console.log(`created ${podCount} pods at ${Math.round((podCount * 1000) / (performance.now() - created))}/s`);

const stop = new AbortController();
const informers = new InformerFactory({ client, ...context });
let bound = 0;
const allBound = Promise.withResolvers<void>();
informers.for(resources.pods).onChange({
  updated(pod, old) {
    if (pod.spec?.nodeName && !old.spec?.nodeName && ++bound === podCount) allBound.resolve();
  },
});
informers.start(stop.signal);
await informers.for(resources.pods).whenSynced();
const begun = performance.now();
const scheduler = new Scheduler({ client, informers, ...context });
const done = scheduler.run(stop.signal);
await allBound.promise;
const seconds = (performance.now() - begun) / 1000;
console.log(
  `${values.case}: ${podCount} pods onto ${nodeCount} nodes in ${seconds.toFixed(2)} s: ${Math.round(podCount / seconds)} pods/s; ${Math.round(process.memoryUsage().rss / 2 ** 20)} MB`,
);
stop.abort();
await done;
await cluster.close();
await store.close();
await rm(folder, { recursive: true, force: true });
process.exit(0);
