import { hasCode, messageOf, rfc3339, rfc3339Micro, type Clock, type Logger, type Timer } from "../../../base/index.ts";
import type { KubeletConfiguration } from "../configuration.ts";
import type { KubeletApi, KubeletHost, MachineFacts } from "../kubelet-api.ts";
import type { cri } from "../pod/imports.ts";
import { nodeLabels, nodeStatus, type NodeInputs } from "./node-object.ts";

export interface NodeAgentOptions {
  readonly api: KubeletApi;
  readonly host: KubeletHost;
  readonly runtime: cri.RuntimeService;
  readonly images: cri.ImageService;
  readonly clock: Clock;
  readonly log: Logger;
  readonly nodeName: string;
  readonly machine: MachineFacts;
  readonly labels: Readonly<Record<string, string>>;
  readonly taints: ReadonlyArray<{ key: string; value?: string; effect: string }>;
  /** One, or one of each family with a comma between. */
  readonly podCidr: string | undefined;
  readonly dataDir: string;
  readonly kubeletPort: number;
  readonly configuration: Pick<KubeletConfiguration, "nodeLeaseDurationSeconds">;
  readonly shuttingDown: () => boolean;
  readonly volumesInUse: () => readonly string[];
  readonly pluginDevices: () => NodeInputs["pluginDevices"];
  readonly pressure: () => { memory: boolean; disk: boolean; pid: boolean };
}

export const MAX_PODS = 110;
/** Upstream's figures: a lease is renewed four times while it is good; status each 10 s when it changed, each 5 min else. */
const LEASE_RENEWALS = 4;
const STATUS_CHECK_MS = 10_000;
const STATUS_REPORT_MS = 300_000;

/** Registers the node and keeps its lease and status fresh. */
export class NodeAgent {
  readonly #options: NodeAgentOptions;
  readonly #timers = new Map<string, Timer>();
  #stopped = false;
  #lastReport = { text: "", atMs: Number.NEGATIVE_INFINITY };

  constructor(options: NodeAgentOptions) {
    this.#options = options;
  }

  /** Resolves when the node is registered and Ready. */
  async start(): Promise<void> {
    await this.#register();
    await this.report();
    this.#every("lease", (this.#leaseSeconds * 1000) / LEASE_RENEWALS, () => this.#renew());
    this.#every("status", STATUS_CHECK_MS, () => this.report());
    await this.#renew();
  }

  stop(): void {
    this.#stopped = true;
    for (const timer of this.#timers.values()) timer.cancel();
  }

  #every(name: string, periodMs: number, run: () => Promise<void>): void {
    const tick = async () => {
      await run().catch((error: unknown) => this.#options.log.warn("node upkeep failed", { what: name, error }));
      if (!this.#stopped)
        this.#timers.set(
          name,
          this.#options.clock.after(periodMs, () => void tick()),
        );
    };
    this.#timers.set(
      name,
      this.#options.clock.after(periodMs, () => void tick()),
    );
  }

  async #register(): Promise<void> {
    const { api, nodeName, machine, labels, taints, podCidr } = this.#options;
    const wanted = { ...nodeLabels(nodeName, machine), ...labels };
    try {
      await api.createNode({
        apiVersion: "v1",
        kind: "Node",
        metadata: {
          name: nodeName,
          labels: wanted,
          annotations: { "volumes.kubernetes.io/controller-managed-attach-detach": "true" },
        },
        spec: {
          ...podCidrsOf(podCidr),
          ...(taints.length > 0 ? { taints: [...taints] } : {}),
        },
      });
    } catch (error) {
      if (!hasCode(error, "alreadyExists")) throw error;
      await api.patchNode({
        metadata: { labels: wanted },
        ...(podCidr ? { spec: podCidrsOf(podCidr) } : {}),
      });
    }
  }

  get #leaseSeconds(): number {
    return this.#options.configuration.nodeLeaseDurationSeconds;
  }

  async #renew(): Promise<void> {
    await this.#options.api.renewLease(
      this.#options.nodeName,
      this.#leaseSeconds,
      rfc3339Micro(this.#options.clock.nowMs()),
    );
  }

  /** Writes the node's status when it has changed, or when the last report is old. */
  async report(): Promise<void> {
    const { api, host, runtime, images, clock, nodeName, machine, dataDir, kubeletPort, pressure } = this.#options;
    const [version, status, list, disk] = await Promise.all([
      runtime.version(),
      runtime.status(),
      images.listImages(),
      host.diskSpace(dataDir),
    ]);
    const broken = status.conditions.find((condition) => !condition.status);
    const next = nodeStatus(
      {
        nodeName,
        machine,
        runtimeVersion: `${version.runtimeName}://${version.runtimeVersion}`,
        images: list,
        maxPods: MAX_PODS,
        ephemeralBytes: disk.totalBytes,
        nowText: rfc3339(clock.nowMs()),
        pressure: pressure(),
        notReady: this.#options.shuttingDown()
          ? "node is shutting down"
          : broken && `container runtime is not ready: ${broken.reason}: ${broken.message}`,
        kubeletPort,
        volumesInUse: this.#options.volumesInUse(),
        pluginDevices: this.#options.pluginDevices(),
      },
      api.node()?.status,
    );
    const text = JSON.stringify({
      ...next,
      conditions: next.conditions?.map(({ lastHeartbeatTime: _, ...condition }) => condition),
    });
    if (text === this.#lastReport.text && clock.monotonicMs() - this.#lastReport.atMs < STATUS_REPORT_MS) return;
    try {
      await api.writeNodeStatus(next);
      this.#lastReport = { text, atMs: clock.monotonicMs() };
    } catch (error) {
      if (hasCode(error, "notFound")) await this.#register();
      else this.#options.log.warn("could not report the node's status", { error: messageOf(error) });
    }
  }
}

function podCidrsOf(podCidr: string | undefined): { podCIDR?: string; podCIDRs?: string[] } {
  const cidrs = podCidr?.split(",") ?? [];
  return cidrs[0] === undefined ? {} : { podCIDR: cidrs[0], podCIDRs: cidrs };
}
