import {
  formatBinaryQuantity,
  invalidArgument,
  parseMilli,
  parseQuantity,
  parseQuantityNano,
} from "../../../base/index.ts";
import { allContainers } from "../pod/containers.ts";
import type { Container, ObjectFieldSelector, Pod, ResourceFieldSelector } from "../pod/imports.ts";

/** What the node knows of a Pod that its object doesn't say yet. */
export interface PodFacts {
  readonly podIps: readonly string[];
  readonly hostIps: readonly string[];
  readonly nodeName: string;
  readonly allocatableCpuMilli: number;
  readonly allocatableMemoryBytes: number;
}

/** The downward API's fieldRef. https://kubernetes.io/docs/concepts/workloads/pods/downward-api/ */
export function fieldValue(pod: Pod, selector: ObjectFieldSelector, facts: PodFacts): string {
  const path = selector.fieldPath;
  const subscript = /^metadata\.(labels|annotations)\['([^']+)'\]$/.exec(path);
  if (subscript)
    return (subscript[1] === "labels" ? pod.metadata.labels : pod.metadata.annotations)?.[subscript[2]!] ?? "";
  switch (path) {
    case "metadata.name":
      return pod.metadata.name!;
    case "metadata.namespace":
      return pod.metadata.namespace!;
    case "metadata.uid":
      return pod.metadata.uid!;
    case "metadata.labels":
      return formatMap(pod.metadata.labels);
    case "metadata.annotations":
      return formatMap(pod.metadata.annotations);
    case "spec.nodeName":
      return facts.nodeName;
    case "spec.serviceAccountName":
      return pod.spec?.serviceAccountName ?? "";
    case "status.hostIP":
      return facts.hostIps[0] ?? "";
    case "status.hostIPs":
      return facts.hostIps.join(",");
    case "status.podIP":
      return facts.podIps[0] ?? "";
    case "status.podIPs":
      return facts.podIps.join(",");
    default:
      throw invalidArgument(`unsupported fieldPath: ${path}`);
  }
}

/** One `key="value"` a line, sorted, the value quoted as Go's %q does for plain text. */
function formatMap(map: Readonly<Record<string, string>> | undefined): string {
  return Object.entries(map ?? {})
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => `${key}=${JSON.stringify(value)}`)
    .join("\n");
}

/** resourceFieldRef: the figure divided by the divisor, rounded up. A limit that isn't set is the node's allocatable. */
export function resourceValue(
  pod: Pod,
  container: Container,
  selector: ResourceFieldSelector,
  facts: PodFacts,
): string {
  const source = selector.containerName
    ? allContainers(pod).find((entry) => entry.container.name === selector.containerName)?.container
    : container;
  if (!source) throw invalidArgument(`container ${selector.containerName} not found`);
  const [kind, name] = selector.resource.split(/\.(.*)/s) as ["limits" | "requests", string];
  const text = source.resources?.[kind]?.[name] ?? (kind === "limits" ? allocatable(name, facts) : "0");
  const divisor = String(selector.divisor ?? "0");
  const divisorNano = parseQuantityNano(divisor);
  if (name === "cpu") {
    const unit = divisorNano === 0n ? 1000 : Number(divisorNano / 1_000_000n);
    return String(Math.ceil(parseMilli(text) / unit));
  }
  const unit = divisorNano === 0n ? 1 : parseQuantity(divisor);
  return String(Math.ceil(parseQuantity(text) / unit));
}

function allocatable(name: string, facts: PodFacts): string {
  if (name === "cpu") return `${facts.allocatableCpuMilli}m`;
  if (name === "memory") return formatBinaryQuantity(facts.allocatableMemoryBytes);
  return "0";
}
