/**
 * A whole control plane in this process for tests with other people's clients: API server on TLS, controllers, scheduler and
 * simulated nodes over a memory store. Much quicker than a daemon, and nothing of the kernel is touched.
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { openCluster } from "../../src/apiserver/index.ts";
import type { Cluster, ClusterOptions } from "../../src/apiserver/index.ts";
import { createLogger, systemClock, systemRandom } from "../../src/base/index.ts";
import { InformerFactory } from "../../src/client/index.ts";
import { allControllers, runControllers } from "../../src/controllers/index.ts";
import { defaultStages, simulateNodes } from "../../src/node/simulated/index.ts";
import { Scheduler } from "../../src/scheduler/index.ts";
import { openMemoryStore } from "../../src/storage/index.ts";

export interface TestCluster extends AsyncDisposable {
  readonly cluster: Cluster;
  /** Temporary; removed with the cluster. */
  readonly folder: string;
  /** The administrator's, in `folder`. */
  readonly kubeconfig: string;
  close(): Promise<void>;
}

export interface TestClusterOptions extends Partial<ClusterOptions> {
  /** Simulated nodes; 2 by default. 0: no controllers and no scheduler either, the bare API. */
  readonly nodes?: number;
}

export async function startTestCluster({ nodes = 2, ...options }: TestClusterOptions = {}): Promise<TestCluster> {
  const folder = await mkdtemp(path.join(tmpdir(), "berth-cluster-"));
  const context = { clock: systemClock, random: systemRandom, log: createLogger({ write: () => {} }) };
  const store = await openMemoryStore();
  const cluster = await openCluster({ ...context, store, folder: path.join(folder, "pki"), port: 0, ...options });
  const kubeconfig = path.join(folder, "kubeconfig");
  await writeFile(kubeconfig, cluster.kubeconfig("test"), { mode: 0o600 });
  const stop = new AbortController();
  const stopped = nodes === 0 ? [] : await runControlPlane(cluster, context, nodes, stop.signal);
  const close = async () => {
    stop.abort();
    await Promise.allSettled(stopped);
    await cluster.close();
    await rm(folder, { recursive: true, force: true });
  };
  return { cluster, folder, kubeconfig, close, [Symbol.asyncDispose]: close };
}

/** Pods that start and end ten times as quickly as simulated ones do. */
const quickStages = defaultStages.map((stage) => ({
  ...stage,
  delayMs: (pod: Parameters<typeof stage.delayMs>[0]) => stage.delayMs(pod) / 10,
  jitterMs: 10,
}));

type Context = Pick<ClusterOptions, "clock" | "random" | "log">;

async function runControlPlane(
  { client, certificates, signer, legacyTokens }: Cluster,
  context: Context,
  count: number,
  signal: AbortSignal,
): Promise<Promise<unknown>[]> {
  const informers = new InformerFactory({ ...context, client });
  const settings = {
    rootCaPem: certificates.authority.pair.cert,
    signer,
    legacyTokens,
    serviceCidr: "10.96.0.0/16",
    loadBalancerCidrs: ["192.0.2.0/29"],
  };
  const manager = runControllers({ ...context, client, informers, settings, controllers: allControllers }, signal);
  const scheduler = new Scheduler({ ...context, client, informers }).run(signal);
  const nodes = simulateNodes({ ...context, client, informers, count, stages: quickStages }, signal);
  await Promise.all([manager.ready, nodes.ready]);
  return [manager.stopped, scheduler, nodes.stopped];
}
