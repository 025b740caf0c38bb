import type { k8s } from "../api/index.ts";
import type { Stored } from "../client/index.ts";
import { amountOf, type Amounts, type HostPort, type PodInfo } from "./pod-info.ts";

export type Node = Stored<k8s.Node>;

const UNSCHEDULABLE_TAINT: k8s.Taint = { key: "node.kubernetes.io/unschedulable", effect: "NoSchedule" };

/** A node with what its pods take. Pods may be here before their node is (`node` undefined), and are then no place to schedule to. */
export class NodeInfo {
  readonly name: string;
  node: Node | undefined;
  labels: Readonly<Record<string, string>> = {};
  /** NoSchedule and NoExecute. */
  hardTaints: readonly k8s.Taint[] = [];
  softTaints: readonly k8s.Taint[] = [];
  unschedulable: k8s.Taint | undefined;
  allocatable: Amounts = { cpu: 0, memory: 0, ephemeral: 0, others: undefined };
  maxPods = 0;
  images: ReadonlyMap<string, number> = new Map();
  cpu = 0;
  memory = 0;
  ephemeral = 0;
  readonly others = new Map<string, number>();
  nonZeroCpu = 0;
  nonZeroMemory = 0;
  readonly pods = new Map<string, PodInfo>();
  readonly #ports = new Map<string, string[]>();

  constructor(name: string) {
    this.name = name;
  }

  setNode(node: Node): void {
    this.node = node;
    this.labels = node.metadata.labels ?? {};
    const taints = node.spec?.taints ?? [];
    this.hardTaints = taints.filter(({ effect }) => effect !== "PreferNoSchedule");
    this.softTaints = taints.filter(({ effect }) => effect === "PreferNoSchedule");
    this.unschedulable = node.spec?.unschedulable ? UNSCHEDULABLE_TAINT : undefined;
    const { cpu, memory, "ephemeral-storage": ephemeral, pods, ...others } = node.status?.allocatable ?? {};
    const amount = (name: string, quantity: string | undefined) => (quantity ? amountOf(name, quantity) : 0);
    this.allocatable = {
      cpu: amount("cpu", cpu),
      memory: amount("memory", memory),
      ephemeral: amount("ephemeral-storage", ephemeral),
      others: Object.fromEntries(Object.entries(others).map(([name, quantity]) => [name, amount(name, quantity)])),
    };
    this.maxPods = amount("pods", pods);
    this.images = new Map(
      (node.status?.images ?? []).flatMap(({ names = [], sizeBytes = 0 }) =>
        names.map((name) => [name, sizeBytes] as const),
      ),
    );
  }

  addPod(info: PodInfo): void {
    this.pods.set(info.uid, info);
    this.#count(info, 1);
    for (const port of info.hostPorts) this.#portsOf(port).push(port.ip);
  }

  removePod(info: PodInfo): void {
    if (!this.pods.delete(info.uid)) return;
    this.#count(info, -1);
    for (const port of info.hostPorts) {
      const ips = this.#portsOf(port);
      ips.splice(ips.indexOf(port.ip), 1);
    }
  }

  hasPortConflict(wanted: HostPort): boolean {
    if (this.#ports.size === 0) return false;
    const ips = this.#ports.get(`${wanted.protocol}/${wanted.port}`);
    if (!ips || ips.length === 0) return false;
    return wanted.ip === "0.0.0.0" || ips.includes(wanted.ip) || ips.includes("0.0.0.0");
  }

  /** A copy to try things out on (preemption). */
  clone(): NodeInfo {
    const copy = new NodeInfo(this.name);
    if (this.node) copy.setNode(this.node);
    for (const info of this.pods.values()) copy.addPod(info);
    return copy;
  }

  #portsOf(port: HostPort): string[] {
    const key = `${port.protocol}/${port.port}`;
    let ips = this.#ports.get(key);
    if (!ips) this.#ports.set(key, (ips = []));
    return ips;
  }

  #count(info: PodInfo, sign: 1 | -1): void {
    const { requests } = info;
    this.cpu += sign * requests.cpu;
    this.memory += sign * requests.memory;
    this.ephemeral += sign * requests.ephemeral;
    this.nonZeroCpu += sign * info.nonZeroCpu;
    this.nonZeroMemory += sign * info.nonZeroMemory;
    for (const name in requests.others) {
      this.others.set(name, (this.others.get(name) ?? 0) + sign * requests.others[name]!);
    }
  }
}
