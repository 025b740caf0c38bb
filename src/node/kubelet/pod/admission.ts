import { hasEnded } from "./containers.ts";
import { parseMilli, parseQuantity } from "./imports.ts";
import type { Pod } from "./imports.ts";
import type { Verdict } from "./verdict.ts";

export interface NodeRoom {
  readonly cpuMilli: number;
  readonly memoryBytes: number;
  readonly pods: number;
}

/** What a Pod reserves on a node: the sum of its containers or its largest init container, whichever is more, and its overhead. */
function podRequests(pod: Pod): { cpuMilli: number; memoryBytes: number } {
  const spec = pod.spec!;
  const read = (name: string, parse: (text: string | number) => number) => {
    if (spec.resources?.requests?.[name] !== undefined) return parse(spec.resources.requests[name]);
    const of = (container: { resources?: { requests?: Record<string, string>; limits?: Record<string, string> } }) =>
      parse(container.resources?.requests?.[name] ?? container.resources?.limits?.[name] ?? "0");
    let sidecars = 0;
    let init = 0;
    for (const container of spec.initContainers ?? []) {
      if (container.restartPolicy === "Always") sidecars += of(container);
      else init = Math.max(init, of(container) + sidecars);
    }
    const mains = spec.containers.reduce((sum, container) => sum + of(container), sidecars);
    return Math.max(mains, init) + parse(spec.overhead?.[name] ?? "0");
  };
  return { cpuMilli: read("cpu", parseMilli), memoryBytes: read("memory", parseQuantity) };
}

/** The kubelet's own check when a Pod arrives, whoever bound it: room, host ports. Undefined: admitted. */
export function admitPod(pod: Pod, others: readonly Pod[], room: NodeRoom): Verdict | undefined {
  const active = others.filter((other) => other.metadata.uid !== pod.metadata.uid && !hasEnded(other));
  if (active.length + 1 > room.pods)
    return {
      reason: "OutOfpods",
      message: `Pod was rejected: Node didn't have enough resource: pods, requested: 1, used: ${active.length}, capacity: ${room.pods}`,
    };
  const wanted = podRequests(pod);
  const used = active.map(podRequests);
  const sum = (key: "cpuMilli" | "memoryBytes") => used.reduce((total, requests) => total + requests[key], 0);
  if (wanted.cpuMilli > 0 && sum("cpuMilli") + wanted.cpuMilli > room.cpuMilli) {
    return {
      reason: "OutOfcpu",
      message: `Pod was rejected: Node didn't have enough resource: cpu, requested: ${wanted.cpuMilli}, used: ${sum("cpuMilli")}, capacity: ${room.cpuMilli}`,
    };
  }
  if (wanted.memoryBytes > 0 && sum("memoryBytes") + wanted.memoryBytes > room.memoryBytes) {
    return {
      reason: "OutOfmemory",
      message: `Pod was rejected: Node didn't have enough resource: memory, requested: ${wanted.memoryBytes}, used: ${sum("memoryBytes")}, capacity: ${room.memoryBytes}`,
    };
  }
  const taken = active.flatMap(hostPorts);
  if (hostPorts(pod).some((port) => taken.some((other) => conflict(port, other))))
    return {
      reason: "NodePorts",
      message:
        "Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports",
    };
  return undefined;
}

interface HostPort {
  readonly port: string;
  /** Empty: all addresses. */
  readonly address: string;
}

function conflict(one: HostPort, other: HostPort): boolean {
  return one.port === other.port && (one.address === other.address || !one.address || !other.address);
}

function hostPorts(pod: Pod): HostPort[] {
  return (pod.spec?.containers ?? []).flatMap((container) =>
    (container.ports ?? [])
      .filter((port) => (port.hostPort ?? 0) > 0)
      .map(({ protocol = "TCP", hostPort, hostIP = "" }) => ({
        port: `${protocol}/${hostPort}`,
        address: /^(0\.0\.0\.0|::)$/.test(hostIP) ? "" : hostIP,
      })),
  );
}
