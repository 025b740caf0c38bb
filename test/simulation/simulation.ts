import assert from "node:assert/strict";
import type { ApiHandler } from "../../src/api/index.ts";
import { builtinKinds, createApiServer, type ApiServer } from "../../src/apiserver/index.ts";
import { ClusterState } from "../../src/apiserver/cluster-state.ts";
import { bindingEndpoints, evictionEndpoint } from "../../src/apiserver/endpoints/pods.ts";
import { FakeClock, randomInt, seededRandom, settle, silentLogger, type Random } from "../../src/base/index.ts";
import { draft, InformerFactory, KubeClient, resources } from "../../src/client/index.ts";
import { allControllers, runControllers } from "../../src/controllers/index.ts";
import { simulateNodes } from "../../src/node/simulated/index.ts";
import { Scheduler } from "../../src/scheduler/index.ts";
import { openMemoryStore, type Store } from "../../src/storage/index.ts";
import { faulty, mortal } from "./faults.ts";
import { GUARDED, Observer, ORDERED } from "./observer.ts";

/** What went on in one run; equal for equal seeds. */
export interface Report {
  readonly seed: number;
  readonly pods: number;
  readonly restarts: number;
  readonly events: number;
  /** Of every watch event in order: two runs of one seed must agree. */
  readonly fingerprint: string;
}

const NODES = 6;
const CHAOS_MS = 60_000;
const CALM_MS = 15 * 60_000;
const STEP_MS = 250;
const ADMIN = { name: "simulation", groups: ["system:masters", "system:authenticated"] };

const COMPLETIONS = 5;
/** Those whose pods users delete and change; the others are only scaled and evicted. */
const isApp = ({ metadata }: { metadata: { labels?: Record<string, string>; name?: string } }) =>
  (metadata.labels?.["app"] ?? metadata.name ?? "").startsWith("app-");

/** Everything that restarts as one process. */
type Part = "controllers" | "scheduler" | "nodes";

/** The whole control plane on a clock of its own, a store in memory and a bad network, all from one seed. Throws when an invariant breaks. */
export async function simulate(seed: number): Promise<Report> {
  const run = await Run.open(seed);
  await run.chaos();
  await run.calm();
  return run.finish();
}

class Run {
  readonly #seed: number;
  readonly #random: Random;
  readonly #clock = new FakeClock();
  readonly #chances = { refuse: 0.03, loseAnswer: 0.03, delay: 0.2, dropWatch: 0.5, slowWatch: 0.1, repeatEvent: 0.02 };
  readonly #stops = new Map<Part, AbortController>();
  readonly #observing = new AbortController();
  #store!: Store;
  #server!: ApiServer;
  #serving = new AbortController();
  #observer!: Observer;
  #client!: KubeClient;
  #restarts = 0;

  constructor(seed: number) {
    this.#seed = seed;
    this.#random = seededRandom(seed);
  }

  static async open(seed: number): Promise<Run> {
    const run = new Run(seed);
    run.#store = await openMemoryStore({ clock: run.#clock });
    await run.#serve();
    run.#client = new KubeClient(run.#handler, { user: ADMIN });
    for (const name of ["default", "kube-system", "kube-node-lease"])
      await run.#client.of(resources.namespaces).create({ metadata: { name } });
    run.#observer = new Observer(run.#handler, run.#clock, run.#observing.signal);
    for (const part of ["controllers", "scheduler", "nodes"] as const) run.#start(part);
    return run;
  }

  // ---- The API server, which restarts over the same store

  async #serve(): Promise<void> {
    const context = { clock: this.#clock, random: this.#random, log: silentLogger };
    this.#serving = new AbortController();
    const state = new ClusterState({ ...context, handler: this.#handler, signal: this.#serving.signal });
    const endpoints = [...bindingEndpoints(this.#clock), evictionEndpoint(state, this.#clock)];
    this.#server = await createApiServer({ ...context, store: this.#store, kinds: builtinKinds(), endpoints });
  }

  /** Whoever waits for an answer when the server goes hears that the connection broke. */
  readonly #handler: ApiHandler = (request) => mortal(this.#server.handler, this.#serving.signal)(request);

  async #restartServer(): Promise<void> {
    this.#serving.abort();
    await this.#server.close();
    await this.#serve();
    this.#restarts++;
  }

  // ---- Parts and their crashes

  #start(part: Part): void {
    const stop = new AbortController();
    this.#stops.set(part, stop);
    // A crashed process sends nothing more, not even what was on its way, and hears nothing more.
    const alive = (handler: ApiHandler): ApiHandler => {
      return (request) => (stop.signal.aborted ? new Promise(() => {}) : handler(request));
    };
    const network = { clock: this.#clock, random: this.#random, chances: this.#chances };
    const handler = alive(faulty(alive(this.#handler), network));
    const client = new KubeClient(handler, { user: ADMIN });
    const context = { client, clock: this.#clock, random: this.#random, log: silentLogger };
    if (part === "controllers")
      runControllers({ ...context, controllers: allControllers }, stop.signal).stopped.catch(() => {});
    else if (part === "scheduler")
      void new Scheduler({ ...context, informers: new InformerFactory(context) }).run(stop.signal).catch(() => {});
    else simulateNodes({ ...context, count: NODES, capacity: { cpu: "8" } }, stop.signal).stopped.catch(() => {});
  }

  #crash(): void {
    const parts = [...this.#stops.keys()];
    const part = parts[randomInt(this.#random, parts.length)]!;
    this.#stops.get(part)!.abort();
    this.#restarts++;
    this.#start(part);
  }

  // ---- What users do meanwhile

  async chaos(): Promise<void> {
    for (let index = 0; index < 3; index++)
      await this.#createDeployment(`app-${index}`, 2 + randomInt(this.#random, 8));
    await this.#createOthers();
    for (let elapsedMs = 0; elapsedMs < CHAOS_MS; elapsedMs += STEP_MS) {
      await this.#step();
      if (this.#random.float() < 0.02) this.#crash();
      if (this.#random.float() < 0.005) await this.#restartServer();
      if (this.#random.float() < 0.05) await this.#disturb().catch(() => {});
    }
  }

  async calm(): Promise<void> {
    Object.assign(this.#chances, { refuse: 0, loseAnswer: 0, delay: 0, dropWatch: 0, slowWatch: 0, repeatEvent: 0 });
    for (let elapsedMs = 0; elapsedMs < CALM_MS; elapsedMs += 20 * STEP_MS) {
      for (let index = 0; index < 20; index++) await this.#step();
      if ((await this.#unsettled()) === undefined) return;
    }
  }

  async #step(): Promise<void> {
    await this.#clock.advance(STEP_MS);
    for (let turn = 0; turn < 4; turn++) await settle();
    this.#observer.assertWhole();
  }

  async #createDeployment(name: string, replicas: number): Promise<void> {
    const labels = { app: name };
    const containers = [{ name: "main", image: "v1", resources: { requests: { cpu: "500m" } } }];
    await this.#client.of(resources.deployments).create({
      metadata: { name, namespace: "default" },
      spec: {
        replicas,
        selector: { matchLabels: labels },
        template: { metadata: { labels }, spec: { containers } },
      },
    });
  }

  async #createOthers(): Promise<void> {
    const { app, replicas, minAvailable } = GUARDED;
    await this.#createDeployment(app, replicas);
    const selector = { matchLabels: { app } };
    await this.#client
      .of(resources.podDisruptionBudgets)
      .create({ metadata: { name: app, namespace: "default" }, spec: { minAvailable, selector } });
    const labels = { app: ORDERED.app };
    const template = { metadata: { labels }, spec: { containers: [{ name: "main", image: "v1" }] } };
    await this.#client.of(resources.statefulSets).create({
      metadata: { name: ORDERED.app, namespace: "default" },
      spec: { serviceName: ORDERED.app, replicas: 3, selector: { matchLabels: labels }, template },
    });
    await this.#client.of(resources.jobs).create({
      metadata: { name: "work", namespace: "default" },
      spec: {
        completions: COMPLETIONS,
        parallelism: 2,
        template: { spec: { restartPolicy: "Never", containers: [{ name: "main", image: "v1" }] } },
      },
    });
  }

  async #disturb(): Promise<void> {
    const deployments = this.#client.of(resources.deployments);
    const items = (await deployments.list({ namespace: "default" })).items.filter(isApp);
    const chosen = items[randomInt(this.#random, items.length)]!;
    const changed = draft(chosen);
    switch (randomInt(this.#random, 5)) {
      case 0:
        changed.spec!.replicas = randomInt(this.#random, 12);
        await deployments.update(changed);
        return;
      case 1:
        changed.spec!.template.spec!.containers[0]!.image = `v${randomInt(this.#random, 1000)}`;
        await deployments.update(changed);
        return;
      case 2: {
        const { name } = (await this.#podsOf(GUARDED.app))[0]?.metadata ?? {};
        const body = { apiVersion: "policy/v1", kind: "Eviction", metadata: { name, namespace: "default" } };
        if (name) await this.#client.of(resources.pods).post({ name, namespace: "default" }, "eviction", body);
        return;
      }
      case 3: {
        const sets = this.#client.of(resources.statefulSets);
        const set = draft(await sets.get({ name: ORDERED.app, namespace: "default" }));
        set.spec!.replicas = randomInt(this.#random, 5);
        await sets.update(set);
        return;
      }
      default: {
        const all = (await this.#client.of(resources.pods).list({ namespace: "default" })).items;
        const pods = all.filter(isApp);
        const pod = pods[randomInt(this.#random, Math.max(1, pods.length))];
        if (pod) await this.#client.of(resources.pods).delete(pod.metadata);
      }
    }
  }

  async #podsOf(app: string) {
    return (await this.#client.of(resources.pods).list({ namespace: "default", labelSelector: `app=${app}` })).items;
  }

  // ---- The invariants of rest

  /** Why the cluster is not yet what its deployments want; undefined when it is. */
  async #unsettled(): Promise<string | undefined> {
    const pods = (await this.#client.of(resources.pods).list({ namespace: "default" })).items;
    for (const deployment of (await this.#client.of(resources.deployments).list({ namespace: "default" })).items) {
      const { name } = deployment.metadata;
      const own = pods.filter((pod) => pod.metadata.labels?.["app"] === name);
      const wanted = deployment.spec?.replicas ?? 0;
      const image = deployment.spec!.template.spec!.containers[0]!.image;
      const good = own.filter(
        (pod) =>
          pod.status?.phase === "Running" &&
          pod.spec?.containers[0]?.image === image &&
          !pod.metadata.deletionTimestamp,
      );
      if (own.length !== wanted || good.length !== wanted)
        return `${name} wants ${wanted} pods, has ${own.length}, ${good.length} of them good`;
      if ((deployment.status?.availableReplicas ?? 0) !== wanted)
        return `${name} says ${deployment.status?.availableReplicas} available of ${wanted}`;
    }
    return this.#othersUnsettled();
  }

  async #othersUnsettled(): Promise<string | undefined> {
    const set = await this.#client.of(resources.statefulSets).get({ name: ORDERED.app, namespace: "default" });
    const names = (await this.#podsOf(ORDERED.app)).map((pod) => pod.metadata.name).sort();
    const wanted = Array.from({ length: set.spec?.replicas ?? 0 }, (_, ordinal) => `${ORDERED.app}-${ordinal}`);
    if (names.join() !== wanted.join()) return `the StatefulSet has ${names.join()} instead of ${wanted.join()}`;
    if ((set.status?.readyReplicas ?? 0) !== wanted.length) return `the StatefulSet says ${set.status?.readyReplicas}`;
    const { status } = await this.#client.of(resources.jobs).get({ name: "work", namespace: "default" });
    const done = status?.conditions?.some((condition) => condition.type === "Complete" && condition.status === "True");
    // A pod made twice because the answer was lost counts too, as upstream: as failed when it is stopped after the others, else as succeeded.
    if (!done || (status?.succeeded ?? 0) < COMPLETIONS || status?.active)
      return `the Job says ${JSON.stringify(status)}`;
    return undefined;
  }

  async finish(): Promise<Report> {
    assert.equal(await this.#unsettled(), undefined, `seed ${this.#seed} did not settle`);
    const live = (await this.#client.of(resources.pods).list()).items;
    assert.deepEqual(
      this.#observer.uids(),
      live.map((pod) => pod.metadata.uid).sort(),
      `seed ${this.#seed}: the watch and the list disagree`,
    );
    const perNode = Map.groupBy(live, (pod) => pod.spec?.nodeName ?? "");
    for (const [node, there] of perNode)
      assert.ok(there.length <= 16, `seed ${this.#seed}: ${node} holds ${there.length} pods`);
    for (const stop of this.#stops.values()) stop.abort();
    this.#observing.abort();
    await this.#step();
    this.#serving.abort();
    await this.#server.close();
    await this.#store.close();
    return {
      seed: this.#seed,
      pods: live.length,
      restarts: this.#restarts,
      events: this.#observer.events,
      fingerprint: this.#observer.fingerprint(),
    };
  }
}
