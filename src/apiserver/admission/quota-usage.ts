import type { k8s, KubeObject } from "../../api/index.ts";
import { formatBinaryQuantity, formatMilli, parseQuantityNano } from "../../base/index.ts";

/** What one object takes of a quota, in billionths, by the quota's own keys. */
export type Usage = Readonly<Record<string, bigint>>;

const one = 1_000_000_000n;
const coreCounted = new Set([
  "configmaps",
  "persistentvolumeclaims",
  "pods",
  "replicationcontrollers",
  "resourcequotas",
  "secrets",
  "services",
]);

export function usageOf({ group, resource }: { group: string; resource: string }, object: KubeObject): Usage {
  const usage: Record<string, bigint> = { [`count/${resource}${group === "" ? "" : `.${group}`}`]: one };
  if (group !== "") return usage;
  if (coreCounted.has(resource)) usage[resource] = one;
  if (resource === "pods") addCompute(usage, (object as k8s.Pod).spec);
  if (resource === "services") addService(usage, (object as k8s.Service).spec);
  if (resource === "persistentvolumeclaims") {
    const spec = (object as k8s.PersistentVolumeClaim).spec;
    const size = parseQuantityNano(spec?.resources?.requests?.["storage"] ?? "0");
    usage["requests.storage"] = size;
    if (spec?.storageClassName) {
      const prefix = `${spec.storageClassName}.storageclass.storage.k8s.io`;
      usage[`${prefix}/persistentvolumeclaims`] = one;
      usage[`${prefix}/requests.storage`] = size;
    }
  }
  return usage;
}

function addService(usage: Record<string, bigint>, spec: k8s.ServiceSpec | undefined): void {
  const ports = BigInt(spec?.ports?.length ?? 0) * one;
  if (spec?.type === "LoadBalancer") usage["services.loadbalancers"] = one;
  if (spec?.type === "NodePort" || (spec?.type === "LoadBalancer" && spec.allocateLoadBalancerNodePorts !== false))
    usage["services.nodeports"] = ports;
}

/** Containers together, or the largest init container where that is more. */
function addCompute(usage: Record<string, bigint>, spec: k8s.PodSpec | undefined): void {
  for (const part of ["requests", "limits"] as const) {
    const total: Record<string, bigint> = {};
    for (const { resources } of spec?.containers ?? [])
      for (const [name, value] of Object.entries(resources?.[part] ?? {}))
        total[name] = (total[name] ?? 0n) + parseQuantityNano(String(value));
    for (const { resources } of spec?.initContainers ?? [])
      for (const [name, value] of Object.entries(resources?.[part] ?? {})) {
        const wanted = parseQuantityNano(String(value));
        if (wanted > (total[name] ?? 0n)) total[name] = wanted;
      }
    for (const [name, value] of Object.entries(total)) {
      usage[`${part}.${name}`] = value;
      if (part === "requests" && /^(cpu|memory|ephemeral-storage)$/.test(name)) usage[name] = value;
    }
  }
}

export function formatUsage(key: string, nano: bigint): string {
  if (/(^|\.)cpu$/.test(key)) return formatMilli(Number(nano / 1_000_000n));
  if (/memory|storage|hugepages/.test(key) && !key.endsWith("persistentvolumeclaims"))
    return formatBinaryQuantity(Number(nano / one));
  return String(nano / one);
}
