import type { k8s } from "../../api/index.ts";
import { createLogger, FakeClock, seededRandom, silentLogger } from "../../base/index.ts";
import { InformerFactory, KubeClient, type Stored, resources } from "../../client/index.ts";
import { FakeApi, testUser } from "../../client/testing/fake.ts";
import type { ClusterSettings, Controller } from "../controller.ts";
import { runControllers } from "../manager.ts";

/** Controllers over a small fake API on a clock that the test moves. Pods run when `runPods` is called. */
export async function world(controllers: readonly Controller[], settings: ClusterSettings = {}) {
  const clock = new FakeClock();
  const api = new FakeApi({ clock });
  const client = new KubeClient(api.handler, { user: testUser });
  const log = process.env["BERTH_TEST_LOG"]
    ? createLogger({ write: (line) => process.stderr.write(line), level: "debug", clock })
    : silentLogger;
  const context = { client, clock, random: seededRandom(3), log };
  const informers = new InformerFactory(context);
  const stop = new AbortController();
  const manager = runControllers({ ...context, informers, controllers, settings }, stop.signal);
  await clock.advance(10);
  await manager.ready;
  /** Lets everything that is going on come to rest. */
  const rest = (ms = 200) => clock.advance(ms);
  const pods = async (namespace = "default") => (await client.of(resources.pods).list({ namespace })).items;
  const events = async () =>
    (await client.of(resources.coreEvents).list()).items.map(({ reason, message }) => `${reason}: ${message}`);
  /** Makes every pod that isn't on its way out run and be ready; removes those that are. */
  const runPods = async (ready = true) => {
    for (const pod of await pods()) {
      if (pod.metadata.deletionTimestamp)
        await client.of(resources.pods).delete(pod.metadata, { gracePeriodSeconds: 0 });
      else if (pod.status?.phase !== "Succeeded" && pod.status?.phase !== "Failed")
        await setPhase(pod, "Running", ready);
    }
    await rest();
  };
  const setPhase = (pod: Stored<k8s.Pod>, phase: string, ready = false) => {
    const state = ready ? "True" : "False";
    const lastTransitionTime = new Date(clock.nowMs()).toISOString();
    const conditions = [{ type: "Ready", status: state, lastTransitionTime }];
    return client.of(resources.pods).updateStatus({ ...pod, status: { ...pod.status, phase, conditions } });
  };
  const close = async () => {
    stop.abort();
    await rest();
    await manager.stopped;
  };
  return { ...context, api, informers, stop, manager, rest, pods, events, runPods, setPhase, close };
}

export const podTemplate = (
  labels: Record<string, string> = { app: "web" },
  image = "nginx:1",
): k8s.PodTemplateSpec => ({
  metadata: { labels },
  spec: { containers: [{ name: "main", image }] },
});
