/**
 * A whole cluster at size: `node bench/cluster-size.ts [--nodes 5000] [--pods 150000] [--per-deployment 1000] [--minutes 15]`.
 *
 * A daemon of its own (`--without engine`, simulated nodes, durable store), filled by Deployments over TLS. While it fills, one Deployment is
 * rolled and everything is listed, a client of its own keeps reading and writing single objects: its p99 are upstream's service-level
 * objectives (1 s). Fails when one is missed, or when the daemon needs more than 3 GB.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { systemClock } from "../src/base/index.ts";
import { resources, type KubeClient } from "../src/client/index.ts";
import { connect } from "../src/cli/kubernetes/connection.ts";
import { pssOf, sleep } from "./lib.ts";

const { values } = parseArgs({
  options: {
    nodes: { type: "string", default: "5000" },
    pods: { type: "string", default: "150000" },
    "per-deployment": { type: "string", default: "1000" },
    minutes: { type: "string", default: "15" },
  },
});
const nodes = Number(values.nodes);
const pods = Number(values.pods);
const perDeployment = Number(values["per-deployment"]);
const namespace = "default";
const SLO_MS = 1000;
const MAX_MIB = 3e9 / 2 ** 20;
const PROBE_PAUSE_MS = 20;

const directory = mkdtempSync(path.join(os.tmpdir(), "berth-size-"));
const deadlineMs = systemClock.monotonicMs() + Number(values.minutes) * 60_000;
const env = {
  ...process.env,
  BERTH_INSTANCE: `size${process.pid}`,
  BERTH_DATA_DIR: path.join(directory, "data"),
  BERTH_RUNTIME_DIR: path.join(directory, "run"),
  BERTH_CONFIG: path.join(directory, "none.json"),
  BERTH_ENGINE: "0",
  BERTH_KUBERNETES: "1",
  BERTH_SIMULATED_NODES: String(nodes),
};
const daemon = spawn(process.execPath, [path.resolve(import.meta.dirname, "../src/daemon/main.ts")], {
  env,
  stdio: "inherit",
});
const ended = new Promise<void>((resolve) => daemon.once("exit", () => resolve()));

async function until(what: string, check: () => Promise<boolean>): Promise<number> {
  const begunMs = systemClock.monotonicMs();
  while (!(await check().catch(() => false))) {
    if (systemClock.monotonicMs() > deadlineMs) throw new Error(`out of time: ${what}`);
    await sleep(500);
  }
  const seconds = (systemClock.monotonicMs() - begunMs) / 1000;
  console.log(`${what}: ${seconds.toFixed(1)} s; daemon ${pssOf([daemon.pid!]).toFixed(0)} MiB`);
  return seconds;
}

/** One client reading and writing single objects all the time. */
class Probe {
  readonly reads: number[] = [];
  readonly writes: number[] = [];
  #stopped = false;
  readonly #done: Promise<void>;

  constructor(client: KubeClient) {
    this.#done = this.#run(client);
  }
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#done;
  }
  async #run(client: KubeClient): Promise<void> {
    const maps = client.of(resources.configMaps);
    const ref = { name: "probe", namespace };
    await maps.create({ metadata: ref, data: {} });
    for (let count = 0; !this.#stopped; count++) {
      await taken(this.writes, () => maps.patch(ref, { data: { count: String(count) } }));
      await taken(this.reads, () => maps.get(ref));
      await sleep(PROBE_PAUSE_MS);
    }
  }
}

async function taken(times: number[], call: () => Promise<unknown>): Promise<void> {
  const begunMs = systemClock.monotonicMs();
  await call();
  times.push(systemClock.monotonicMs() - begunMs);
}

function p99(times: readonly number[]): number {
  return times.toSorted((left, right) => left - right)[Math.floor(times.length * 0.99)] ?? 0;
}

async function measure(): Promise<boolean> {
  const kubeconfig = path.join(env.BERTH_RUNTIME_DIR, "kubeconfig");
  await until("the API server", async () =>
    (await connect(kubeconfig)).client
      .of(resources.nodes)
      .list()
      .then(() => true),
  );
  const { client } = await connect(kubeconfig);
  const ready = async (name: string, wanted: number, generation = 1) => {
    const { status } = await client.of(resources.deployments).get({ name, namespace });
    const seen = (status?.observedGeneration ?? 0) >= generation;
    return (
      seen && status?.updatedReplicas === wanted && status.availableReplicas === wanted && status.replicas === wanted
    );
  };
  await until(`${nodes} nodes`, async () => {
    const page = await client.of(resources.nodes).list({ limit: 1 });
    return page.items.length + (page.metadata.remainingItemCount ?? 0) === nodes;
  });
  const probe = new Probe((await connect(kubeconfig)).client);
  const names = Array.from({ length: Math.ceil(pods / perDeployment) }, (_, at) => `load-${at}`);
  for (const name of names) {
    const labels = { app: name };
    const template = { metadata: { labels }, spec: { containers: [{ name: "main", image: "app:1" }] } };
    const spec = { replicas: perDeployment, selector: { matchLabels: labels }, template };
    await client.of(resources.deployments).create({ metadata: { name, namespace }, spec });
  }
  const fill = await until(`${pods} pods ready`, async () => {
    for (const name of names) if (!(await ready(name, perDeployment))) return false;
    return true;
  });
  const image = { spec: { template: { spec: { containers: [{ name: "main", image: "app:2" }] } } } };
  const changed = await client
    .of(resources.deployments)
    .patch({ name: names[0]!, namespace }, image, { kind: "strategic" });
  await until(`${perDeployment} pods rolled`, () => ready(names[0]!, perDeployment, changed.metadata.generation));
  const begunMs = systemClock.monotonicMs();
  let listed = 0;
  let from: string | undefined;
  do {
    const page = await client.of(resources.pods).list({ limit: 500, continue: from });
    listed += page.items.length;
    from = page.metadata.continue || undefined;
  } while (from);
  console.log(`${listed} pods listed in pages of 500: ${((systemClock.monotonicMs() - begunMs) / 1000).toFixed(1)} s`);
  await probe.stop();
  const mib = pssOf([daemon.pid!]);
  console.log(`${(pods / fill).toFixed(0)} pods/s from Deployment to Ready`);
  console.log(
    `p99 of ${probe.writes.length} writes ${p99(probe.writes).toFixed(0)} ms, of reads ${p99(probe.reads).toFixed(0)} ms`,
  );
  console.log(`memory ${mib.toFixed(0)} MiB PSS`);
  return p99(probe.writes) < SLO_MS && p99(probe.reads) < SLO_MS && mib < MAX_MIB;
}

try {
  process.exitCode = (await measure()) ? 0 : 1;
} catch (error) {
  console.error(error);
  process.exitCode = 1;
} finally {
  daemon.kill("SIGKILL");
  await ended;
  rmSync(directory, { recursive: true, force: true });
}
process.exit();
