import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import type { ApiHandler, k8s } from "../../src/api/index.ts";
import { createApiServer, builtinKinds } from "../../src/apiserver/index.ts";
import { bindingEndpoints } from "../../src/apiserver/endpoints/pods.ts";
import { FakeClock, randomInt, seededRandom, settle, silentLogger, type Random } from "../../src/base/index.ts";
import { draft, InformerFactory, KubeClient, resources } from "../../src/client/index.ts";
import { allControllers, runControllers } from "../../src/controllers/index.ts";
import { simulateNodes } from "../../src/node/simulated/index.ts";
import { Scheduler } from "../../src/scheduler/index.ts";
import { openMemoryStore } from "../../src/storage/index.ts";
import { faulty } from "./faults.ts";

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
  readonly #chances = { refuse: 0.03, loseAnswer: 0.03, delay: 0.2, dropWatch: 0.5 };
  readonly #stops = new Map<Part, AbortController>();
  readonly #nodeOf = new Map<string, string>();
  readonly #seen = new Map<string, k8s.Pod>();
  readonly #hash = createHash("sha256");
  readonly #observing = new AbortController();
  #handler!: ApiHandler;
  #client!: KubeClient;
  #close!: () => Promise<void>;
  #lastVersion = 0;
  #events = 0;
  #restarts = 0;
  #broken: unknown;

  constructor(seed: number) {
    this.#seed = seed;
    this.#random = seededRandom(seed);
  }

  static async open(seed: number): Promise<Run> {
    const run = new Run(seed);
    const clock = run.#clock;
    const store = await openMemoryStore({ clock });
    const context = { clock, random: run.#random, log: silentLogger };
    const endpoints = bindingEndpoints(clock);
    const server = await createApiServer({ ...context, store, kinds: builtinKinds(), endpoints });
    run.#handler = server.handler;
    run.#client = new KubeClient(server.handler, { user: ADMIN });
    run.#close = async () => {
      await server.close();
      await store.close();
    };
    for (const name of ["default", "kube-system", "kube-node-lease"])
      await run.#client.of(resources.namespaces).create({ metadata: { name } });
    void run.#observe();
    for (const part of ["controllers", "scheduler", "nodes"] as const) run.#start(part);
    return run;
  }

  // ---- The invariants that hold at every moment

  async #observe(): Promise<void> {
    try {
      const { metadata } = await this.#client.of(resources.pods).list();
      const watch = this.#client
        .of(resources.pods)
        .watch({ resourceVersion: metadata.resourceVersion, signal: this.#observing.signal });
      for await (const { type, object } of watch) this.#check(type, object);
    } catch (error) {
      if (!this.#observing.signal.aborted) this.#broken ??= error;
    }
  }

  #check(type: string, pod: k8s.Pod): void {
    const { uid = "", name, resourceVersion } = pod.metadata;
    const version = Number(resourceVersion);
    assert.ok(version > this.#lastVersion, `watch went back from ${this.#lastVersion} to ${version}`);
    this.#lastVersion = version;
    assert.equal(
      type === "ADDED",
      !this.#seen.has(uid),
      `${type} of ${name}, which was ${this.#seen.has(uid) ? "" : "not "}there`,
    );
    const bound = this.#nodeOf.get(uid);
    if (bound !== undefined) assert.equal(pod.spec?.nodeName, bound, `${name} was bound twice`);
    if (pod.spec?.nodeName) this.#nodeOf.set(uid, pod.spec.nodeName);
    if (type === "DELETED") this.#seen.delete(uid);
    else this.#seen.set(uid, pod);
    this.#events++;
    this.#hash.update(`${this.#clock.nowMs()} ${type} ${name} ${resourceVersion} ${pod.spec?.nodeName ?? ""}\n`);
  }

  // ---- Parts and their crashes

  #start(part: Part): void {
    const stop = new AbortController();
    this.#stops.set(part, stop);
    const handler = faulty(this.#handler, { clock: this.#clock, random: this.#random, chances: this.#chances });
    // A crashed process sends nothing more, and hears nothing more.
    const mortal: ApiHandler = async (request) => {
      if (stop.signal.aborted) return new Promise(() => {});
      return handler(request);
    };
    const client = new KubeClient(mortal, { user: ADMIN });
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
    for (let index = 0; index < 3; index++) await this.#createDeployment(`app-${index}`);
    for (let elapsedMs = 0; elapsedMs < CHAOS_MS; elapsedMs += STEP_MS) {
      await this.#step();
      if (this.#random.float() < 0.02) this.#crash();
      if (this.#random.float() < 0.05) await this.#disturb().catch(() => {});
    }
  }

  async calm(): Promise<void> {
    Object.assign(this.#chances, { refuse: 0, loseAnswer: 0, delay: 0, dropWatch: 0 });
    for (let elapsedMs = 0; elapsedMs < CALM_MS; elapsedMs += 20 * STEP_MS) {
      for (let index = 0; index < 20; index++) await this.#step();
      if ((await this.#unsettled()) === undefined) return;
    }
  }

  async #step(): Promise<void> {
    await this.#clock.advance(STEP_MS);
    for (let turn = 0; turn < 4; turn++) await settle();
    if (this.#broken) throw new Error(`seed ${this.#seed}`, { cause: this.#broken });
  }

  async #createDeployment(name: string): Promise<void> {
    const labels = { app: name };
    const containers = [{ name: "main", image: "v1", resources: { requests: { cpu: "500m" } } }];
    await this.#client.of(resources.deployments).create({
      metadata: { name, namespace: "default" },
      spec: {
        replicas: 2 + randomInt(this.#random, 8),
        selector: { matchLabels: labels },
        template: { metadata: { labels }, spec: { containers } },
      },
    });
  }

  async #disturb(): Promise<void> {
    const deployments = this.#client.of(resources.deployments);
    const { items } = await deployments.list({ namespace: "default" });
    const chosen = items[randomInt(this.#random, items.length)]!;
    const changed = draft(chosen);
    switch (randomInt(this.#random, 3)) {
      case 0:
        changed.spec!.replicas = randomInt(this.#random, 12);
        await deployments.update(changed);
        return;
      case 1:
        changed.spec!.template.spec!.containers[0]!.image = `v${randomInt(this.#random, 1000)}`;
        await deployments.update(changed);
        return;
      default: {
        const pods = (await this.#client.of(resources.pods).list({ namespace: "default" })).items;
        const pod = pods[randomInt(this.#random, Math.max(1, pods.length))];
        if (pod) await this.#client.of(resources.pods).delete(pod.metadata);
      }
    }
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
    return undefined;
  }

  async finish(): Promise<Report> {
    assert.equal(await this.#unsettled(), undefined, `seed ${this.#seed} did not settle`);
    const live = (await this.#client.of(resources.pods).list()).items;
    assert.deepEqual(
      [...this.#seen.keys()].sort(),
      live.map((pod) => pod.metadata.uid).sort(),
      `seed ${this.#seed}: the watch and the list disagree`,
    );
    const perNode = Map.groupBy(live, (pod) => pod.spec?.nodeName ?? "");
    for (const [node, there] of perNode)
      assert.ok(there.length <= 16, `seed ${this.#seed}: ${node} holds ${there.length} pods`);
    for (const stop of this.#stops.values()) stop.abort();
    this.#observing.abort();
    await this.#step();
    await this.#close();
    return {
      seed: this.#seed,
      pods: live.length,
      restarts: this.#restarts,
      events: this.#events,
      fingerprint: this.#hash.digest("hex"),
    };
  }
}
