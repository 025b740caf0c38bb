import { builtinKinds, createApiServer } from "../../src/apiserver/index.ts";
import { bindingEndpoints } from "../../src/apiserver/endpoints/pods.ts";
import { FakeClock, seededRandom, settle, silentLogger } from "../../src/base/index.ts";
import { InformerFactory, KubeClient, resources } from "../../src/client/index.ts";
import { allControllers, runControllers, type ClusterSettings } from "../../src/controllers/index.ts";
import { simulateNodes } from "../../src/node/simulated/index.ts";
import { Scheduler } from "../../src/scheduler/index.ts";
import { openMemoryStore } from "../../src/storage/index.ts";

/** Ticks of the clock, between which everything that can go on does. */
const STEP_MS = 250;

/** API server, every controller, scheduler and simulated nodes in this process, on a clock that the test moves by `run`. */
export async function openControlPlane({
  seed = 11,
  nodes = 3,
  settings: more = {},
}: { seed?: number; nodes?: number; settings?: ClusterSettings } = {}) {
  const clock = new FakeClock();
  const stop = new AbortController();
  const context = { clock, random: seededRandom(seed), log: silentLogger };
  const run = async (ms: number) => {
    for (let elapsedMs = 0; elapsedMs < ms; elapsedMs += STEP_MS) {
      await clock.advance(STEP_MS);
      for (let turn = 0; turn < 4; turn++) await settle();
    }
  };
  const store = await openMemoryStore({ clock });
  const endpoints = bindingEndpoints(clock);
  const server = await createApiServer({ ...context, store, kinds: builtinKinds(), endpoints });
  const user = { name: "test", groups: ["system:masters", "system:authenticated"] };
  const client = new KubeClient(server.handler, { user });
  for (const name of ["default", "kube-system", "kube-node-lease"])
    await client.of(resources.namespaces).create({ metadata: { name } });
  const informers = new InformerFactory({ ...context, client });
  const settings = { rootCaPem: "PEM", loadBalancerCidrs: ["192.0.2.0/29"], podCidr: "10.244.0.0/16", ...more };
  runControllers({ ...context, client, informers, controllers: allControllers, settings }, stop.signal);
  void new Scheduler({ ...context, client, informers }).run(stop.signal);
  simulateNodes({ ...context, client, informers, count: nodes }, stop.signal);
  await run(3000);
  const close = async () => {
    stop.abort();
    await run(500);
    await server.close();
  };
  return { client, clock, run, close };
}
