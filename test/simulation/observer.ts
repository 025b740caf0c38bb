import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import type { ApiHandler, k8s } from "../../src/api/index.ts";
import { hasCode, type Clock } from "../../src/base/index.ts";
import { isExpired, KubeClient, resources, type Stored } from "../../src/client/index.ts";

type Pod = Stored<k8s.Pod>;

const RETRY_MS = 50;

/** The workloads whose rules are looked after. */
export const GUARDED = { app: "guarded", replicas: 3, minAvailable: 2 };
export const ORDERED = { app: "ordered" };

/** Watches all pods over a network that doesn't fail, and holds what must be true at every moment. */
export class Observer {
  readonly #client: KubeClient;
  readonly #clock: Clock;
  readonly #signal: AbortSignal;
  readonly #seen = new Map<string, Pod>();
  readonly #nodeOf = new Map<string, string>();
  readonly #hash = createHash("sha256");
  #lastVersion = 0;
  #wasWhole = false;
  #events = 0;
  #broken: unknown;

  constructor(handler: ApiHandler, clock: Clock, signal: AbortSignal) {
    this.#client = new KubeClient(handler, { user: { name: "observer", groups: ["system:masters"] } });
    this.#clock = clock;
    this.#signal = signal;
    void this.#run();
  }

  get events(): number {
    return this.#events;
  }
  /** Uids of all pods that there are, in order. */
  uids(): string[] {
    return [...this.#seen.keys()].sort();
  }
  /** Of every event in order: two runs of one seed must agree. */
  fingerprint(): string {
    return this.#hash.copy().digest("hex");
  }
  /** Throws what was found broken. */
  assertWhole(): void {
    if (this.#broken !== undefined) throw this.#broken;
  }

  async #run(): Promise<void> {
    while (!this.#signal.aborted && this.#broken === undefined) {
      try {
        await this.#list();
        for (;;) await this.#follow();
      } catch (error) {
        if (error instanceof assert.AssertionError) this.#broken ??= error;
        else if (!hasCode(error, "unavailable") && !isExpired(error) && !this.#signal.aborted) this.#broken ??= error;
        // The server went away, or has forgotten where we stood: look at everything again.
        await this.#clock.sleep(RETRY_MS, this.#signal).catch(() => {});
      }
    }
  }

  /** After a server's restart the difference between two looks is what a watch would have told. */
  async #list(): Promise<void> {
    const { items, metadata } = await this.#client.of(resources.pods).list({ signal: this.#signal });
    const version = Number(metadata.resourceVersion);
    assert.ok(version >= this.#lastVersion, `a list is of ${version}, behind the watch's ${this.#lastVersion}`);
    const now = new Set(items.map((pod) => pod.metadata.uid));
    for (const uid of this.#seen.keys()) if (!now.has(uid)) this.#seen.delete(uid);
    for (const pod of items) {
      const old = this.#seen.get(pod.metadata.uid);
      if (!old) assert.ok(Number(pod.metadata.resourceVersion) > this.#lastVersion, `${nameOf(pod)} was not told of`);
      if (old) this.#checkBinding(pod);
      this.#remember(pod);
    }
    this.#lastVersion = version;
  }

  async #follow(): Promise<void> {
    const options = { resourceVersion: String(this.#lastVersion), signal: this.#signal };
    for await (const { type, object } of this.#client.of(resources.pods).watch(options)) this.#check(type, object);
    await this.#clock.sleep(RETRY_MS, this.#signal);
  }

  #check(type: string, pod: Pod): void {
    const { uid, resourceVersion } = pod.metadata;
    const version = Number(resourceVersion);
    assert.ok(version > this.#lastVersion, `watch went back from ${this.#lastVersion} to ${version}`);
    this.#lastVersion = version;
    const known = this.#seen.has(uid);
    assert.equal(type === "ADDED", !known, `${type} of ${nameOf(pod)}, which was ${known ? "" : "not "}there`);
    this.#checkBinding(pod);
    this.#checkOrder(type, pod);
    if (type === "DELETED") this.#seen.delete(uid);
    else this.#remember(pod);
    this.#checkBudget();
    this.#events++;
    const node = pod.spec?.nodeName ?? "";
    this.#hash.update(`${this.#clock.nowMs()} ${type} ${nameOf(pod)} ${resourceVersion} ${node}\n`);
  }

  #remember(pod: Pod): void {
    this.#seen.set(pod.metadata.uid, pod);
    if (pod.spec?.nodeName) this.#nodeOf.set(pod.metadata.uid, pod.spec.nodeName);
  }

  #checkBinding(pod: Pod): void {
    const bound = this.#nodeOf.get(pod.metadata.uid);
    if (bound !== undefined) assert.equal(pod.spec?.nodeName, bound, `${nameOf(pod)} was bound twice`);
  }

  /** A StatefulSet's pods come one after the other from the first, and go one after the other from the last. */
  #checkOrder(type: string, pod: Pod): void {
    if (pod.metadata.labels?.["app"] !== ORDERED.app) return;
    const ordinal = ordinalOf(pod);
    const others = this.#of(ORDERED.app).filter((other) => other.metadata.uid !== pod.metadata.uid);
    if (type === "ADDED") {
      const before = others.filter((other) => ordinalOf(other) < ordinal && isReady(other)).length;
      assert.equal(before, ordinal, `${nameOf(pod)} was made when ${before} pods before it were ready`);
    }
    const isGoing = pod.metadata.deletionTimestamp && !this.#seen.get(pod.metadata.uid)?.metadata.deletionTimestamp;
    if (!isGoing) return;
    const after = others.filter((other) => ordinalOf(other) > ordinal);
    assert.deepEqual(after.map(nameOf), [], `${nameOf(pod)} goes before those after it`);
  }

  /** Evictions, which the budget guards, are all that happens to these pods. */
  #checkBudget(): void {
    const ready = this.#of(GUARDED.app).filter(isReady).length;
    if (ready === GUARDED.replicas) this.#wasWhole = true;
    if (this.#wasWhole) assert.ok(ready >= GUARDED.minAvailable, `evictions left ${ready} guarded pods`);
  }

  #of(app: string): Pod[] {
    return [...this.#seen.values()].filter((pod) => pod.metadata.labels?.["app"] === app);
  }
}

const nameOf = (pod: Pod) => pod.metadata.name;
const ordinalOf = (pod: Pod) => Number(/-(\d+)$/.exec(pod.metadata.name)?.[1]);
const isReady = ({ metadata, status }: Pod) =>
  !metadata.deletionTimestamp &&
  status?.conditions?.some((condition) => condition.type === "Ready" && condition.status === "True") === true;
