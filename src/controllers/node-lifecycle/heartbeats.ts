import type { k8s } from "../../api/index.ts";
import type { Informer, Stored } from "../../client/index.ts";

type Node = Stored<k8s.Node>;
type Lease = Stored<k8s.Lease>;

/** A lease may be renewed this much later than it promises: with a kubelet's usual 40 s, upstream's 50 s. */
const LEASE_SLACK = 1.25;

/** When this process last saw a node's lease or Ready heartbeat change: clocks need not agree. */
export class Heartbeats {
  readonly #leases: Informer<k8s.Lease>;
  readonly #nowMs: () => number;
  readonly #graceMs: number;
  readonly #seen = new Map<string, { mark: string; atMs: number }>();

  constructor(leases: Informer<k8s.Lease>, nowMs: () => number, graceMs: number) {
    this.#leases = leases;
    this.#nowMs = nowMs;
    this.#graceMs = graceMs;
  }

  look(node: Node): void {
    const mark = this.#markOf(node);
    if (this.#seen.get(node.metadata.name)?.mark === mark) return;
    this.#seen.set(node.metadata.name, { mark, atMs: this.#nowMs() });
  }

  forget(node: Node): void {
    this.#seen.delete(node.metadata.name);
  }

  /** Nothing new since the last look, which is longer ago than the node's lease allows, or than the grace period of one without a lease. */
  isSilent(node: Node): boolean {
    const seen = this.#seen.get(node.metadata.name);
    if (seen?.mark !== this.#markOf(node)) return false;
    const promisedMs = (this.#leaseOf(node)?.spec?.leaseDurationSeconds ?? 0) * 1000 * LEASE_SLACK;
    return this.#nowMs() - seen.atMs > (promisedMs || this.#graceMs);
  }

  #leaseOf(node: Node): Lease | undefined {
    return this.#leases.get(`kube-node-lease/${node.metadata.name}`);
  }

  #markOf(node: Node): string {
    return `${this.#leaseOf(node)?.spec?.renewTime}/${readyCondition(node)?.lastHeartbeatTime}`;
  }
}

export function readyCondition({ status }: k8s.Node): k8s.NodeCondition | undefined {
  return status?.conditions?.find(({ type }) => type === "Ready");
}
