import type { k8s } from "../../api/index.ts";
import { hasCode, messageOf, rfc3339, rfc3339Micro, type Clock, type Logger, type Random } from "../../base/index.ts";
import { InformerFactory, keyOf, resources, WorkQueue, type KubeClient, type Stored } from "../../client/index.ts";
import { defaultStages, type Stage } from "./stages.ts";

const SIMULATED_LABEL = "berth.dev/simulated";

export interface SimulatedNodesOptions {
  readonly client: KubeClient;
  readonly informers?: InformerFactory;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly count: number;
  /** The first node's number. */
  readonly from?: number;
  readonly capacity?: { cpu?: string; memory?: string; pods?: string };
  readonly stages?: readonly Stage[];
  /** Nodes are spread over this many zones. */
  readonly zones?: number;
  readonly workers?: number;
}

/** Writes on their way at once: those that wait for the store share one sync of the disk. */
const DEFAULT_WORKERS = 64;
const REGISTRATIONS_AT_ONCE = 16;
/** Upstream renews every 10 s; many nodes in one process renew less often, at most about 50 leases a second. */
const MIN_RENEW_MS = 10_000;
const RENEW_MS_PER_NODE = 20;
const FIRST_RETRY_MS = 200;
const MAX_RETRY_MS = 5_000;
const KUBELET_VERSION = "v1.34.0";

const NODE_KEY = "node";

function isReady(node: k8s.Node): boolean {
  return node.status?.conditions?.some(({ type, status }) => type === "Ready" && status === "True") ?? false;
}

function simulatedNodeName(index: number): string {
  return `sim-${index}`;
}

/** Registers the nodes, then keeps them alive and moves their pods until the signal aborts. `ready` resolves when all are registered. */
export function simulateNodes(
  options: SimulatedNodesOptions,
  signal: AbortSignal,
): { ready: Promise<void>; stopped: Promise<void> } {
  const simulation = new Simulation(options);
  const ready = simulation.register(signal);
  return { ready, stopped: ready.then(() => simulation.run(signal)) };
}

class Simulation {
  readonly #options: SimulatedNodesOptions;
  readonly #informers: InformerFactory;
  readonly #ownsInformers: boolean;
  readonly #queue: WorkQueue;
  readonly #names: ReadonlySet<string>;
  readonly #stages: readonly Stage[];
  #addresses = 0;

  constructor(options: SimulatedNodesOptions) {
    this.#options = options;
    this.#ownsInformers = !options.informers;
    this.#informers = options.informers ?? new InformerFactory(options);
    this.#queue = new WorkQueue(options);
    this.#stages = options.stages ?? defaultStages;
    const from = options.from ?? 0;
    this.#names = new Set(Array.from({ length: options.count }, (_, index) => simulatedNodeName(from + index)));
  }

  async register(signal: AbortSignal): Promise<void> {
    const names = [...this.#names];
    let next = 0;
    const worker = async () => {
      while (next < names.length && !signal.aborted) {
        const index = next++;
        await this.#registerOne(names[index]!, index, signal);
      }
    };
    await Promise.all(Array.from({ length: REGISTRATIONS_AT_ONCE }, worker));
  }

  async run(signal: AbortSignal): Promise<void> {
    const pods = this.#informers.for(resources.pods);
    const consider = (pod: Stored<k8s.Pod>) => this.#consider(pod);
    pods.onChange({ added: consider, updated: consider });
    // Somebody took this process for dead while it was away: it says again that its nodes are well.
    const revive = (node: Stored<k8s.Node>) => {
      if (this.#names.has(node.metadata.name) && !isReady(node)) this.#queue.add(`${NODE_KEY} ${node.metadata.name}`);
    };
    this.#informers.for(resources.nodes).onChange({ added: revive, updated: revive });
    if (this.#ownsInformers) this.#informers.start(signal);
    await pods.whenSynced();
    await Promise.all([
      this.#queue.run(this.#options.workers ?? DEFAULT_WORKERS, (key) => this.#advance(key, signal), signal),
      this.#renewForever(signal),
    ]);
  }

  #stageOf(pod: Stored<k8s.Pod>): Stage | undefined {
    if (!pod.spec?.nodeName || !this.#names.has(pod.spec.nodeName)) return undefined;
    return this.#stages.find((stage) => stage.when(pod));
  }

  #consider(pod: Stored<k8s.Pod>): void {
    const stage = this.#stageOf(pod);
    if (!stage) return;
    const jitterMs = (stage.jitterMs ?? 0) * this.#options.random.float();
    this.#queue.addAfter(`${stage.name} ${keyOf(pod)}`, stage.delayMs(pod) + jitterMs);
  }

  async #advance(queued: string, signal: AbortSignal): Promise<void> {
    const space = queued.indexOf(" ");
    if (queued.startsWith(`${NODE_KEY} `)) return this.#revive(queued.slice(space + 1), signal);
    const pod = this.#informers.for(resources.pods).get(queued.slice(space + 1));
    const stage = pod && this.#stageOf(pod);
    // Something else has happened since; that change queued the stage that is due now.
    if (!stage || stage.name !== queued.slice(0, space)) return;
    const pods = this.#options.client.of(resources.pods);
    const { name, namespace, uid } = pod.metadata;
    const status = stage.next(pod, this.#options.clock.nowMs(), () => this.#nextAddress());
    try {
      if (status === "delete")
        await pods.delete({ name, namespace }, { gracePeriodSeconds: 0, preconditions: { uid }, signal });
      else await pods.updateStatus({ ...pod, status }, { signal });
    } catch (error) {
      if (hasCode(error, "notFound")) return;
      throw error;
    }
  }

  async #revive(name: string, signal: AbortSignal): Promise<void> {
    const node = this.#informers.for(resources.nodes).get(name);
    if (!node || isReady(node)) return;
    const { status } = this.#node(name, [...this.#names].indexOf(name));
    await this.#options.client
      .of(resources.nodes)
      .updateStatus({ ...node, status: { ...node.status, ...status } }, { signal });
  }

  #nextAddress(): string {
    const value = this.#addresses++ % (1 << 22);
    return `10.${128 + (value >> 16)}.${(value >> 8) & 255}.${value & 255}`;
  }

  get #renewMs(): number {
    return Math.max(MIN_RENEW_MS, this.#options.count * RENEW_MS_PER_NODE);
  }

  /** Until it has worked: a server that cannot be reached is asked again, with a growing delay. */
  async #registerOne(name: string, index: number, signal: AbortSignal): Promise<void> {
    const { client, clock, log } = this.#options;
    for (let delayMs = FIRST_RETRY_MS; !signal.aborted; delayMs = Math.min(delayMs * 2, MAX_RETRY_MS)) {
      try {
        const { status } = this.#node(name, index);
        const node = await this.#createOrGet(name, index, signal);
        if (!isReady(node)) await client.of(resources.nodes).updateStatus({ ...node, status }, { signal });
        return await this.#renew(name, signal);
      } catch (error) {
        log.debug("a simulated node was not registered yet", { node: name, error: messageOf(error) });
        await clock.sleep(delayMs, signal).catch(() => {});
      }
    }
  }

  async #createOrGet(name: string, index: number, signal: AbortSignal): Promise<Stored<k8s.Node>> {
    const nodes = this.#options.client.of(resources.nodes);
    try {
      return await nodes.create(this.#node(name, index), { signal });
    } catch (error) {
      if (!hasCode(error, "alreadyExists")) throw error;
      return nodes.get({ name }, { signal });
    }
  }

  #node(name: string, index: number): k8s.Node {
    const { clock, capacity, zones = 3 } = this.#options;
    const now = rfc3339(clock.nowMs());
    const resourcesOf = { cpu: "32", memory: "256Gi", "ephemeral-storage": "500Gi", pods: "110", ...capacity };
    const condition = (type: string, status: string, reason: string, message: string): k8s.NodeCondition => ({
      type,
      status,
      reason,
      message,
      lastHeartbeatTime: now,
      lastTransitionTime: now,
    });
    return {
      metadata: {
        name,
        labels: {
          "kubernetes.io/hostname": name,
          "kubernetes.io/os": "linux",
          "kubernetes.io/arch": "amd64",
          "beta.kubernetes.io/os": "linux",
          "beta.kubernetes.io/arch": "amd64",
          "topology.kubernetes.io/region": "simulated",
          "topology.kubernetes.io/zone": `simulated-${index % zones}`,
          [SIMULATED_LABEL]: "true",
          // `kubectl get nodes` shows it under ROLES.
          "node-role.kubernetes.io/simulated": "",
        },
        annotations: { [SIMULATED_LABEL]: "true" },
      },
      spec: { providerID: `simulated://${name}` },
      status: {
        capacity: resourcesOf,
        allocatable: resourcesOf,
        conditions: [
          condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
          condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
          condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
          condition("Ready", "True", "KubeletReady", "simulated node: no kubelet runs"),
        ],
        addresses: [
          { type: "InternalIP", address: `10.127.${(index >> 8) & 255}.${index & 255}` },
          { type: "Hostname", address: name },
        ],
        nodeInfo: {
          machineID: name,
          systemUUID: name,
          bootID: name,
          kernelVersion: "simulated",
          osImage: "simulated node",
          containerRuntimeVersion: "simulated://1",
          kubeletVersion: KUBELET_VERSION,
          kubeProxyVersion: "",
          operatingSystem: "linux",
          architecture: "amd64",
        },
      },
    };
  }

  async #renewForever(signal: AbortSignal): Promise<void> {
    const names = [...this.#names];
    const pauseMs = names.length === 0 ? this.#renewMs : this.#renewMs / names.length;
    let debtMs = 0;
    while (!signal.aborted) {
      for (const name of names) {
        // Renewals are spread over the period, so that they don't come in bursts; short pauses are saved up.
        if ((debtMs += pauseMs) >= 100) {
          await this.#options.clock.sleep(debtMs, signal).catch(() => {});
          debtMs = 0;
        }
        if (signal.aborted) return;
        await this.#renew(name, signal).catch((error: unknown) =>
          this.#options.log.debug("a simulated node's lease was not renewed", { node: name, error: messageOf(error) }),
        );
      }
      if (names.length === 0) await this.#options.clock.sleep(this.#renewMs, signal).catch(() => {});
    }
  }

  async #renew(name: string, signal: AbortSignal): Promise<void> {
    const leases = this.#options.client.of(resources.leases);
    const ref = { name, namespace: "kube-node-lease" };
    const leaseDurationSeconds = Math.ceil((this.#renewMs * 4) / 1000);
    const spec = { holderIdentity: name, leaseDurationSeconds, renewTime: rfc3339Micro(this.#options.clock.nowMs()) };
    try {
      await leases.patch(ref, { spec }, { signal });
    } catch (error) {
      if (!hasCode(error, "notFound")) throw error;
      await leases.create({ metadata: ref, spec }, { signal });
    }
  }
}
