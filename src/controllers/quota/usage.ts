import type { k8s } from "../../api/index.ts";
import { parseQuantityNano } from "../../base/index.ts";
import { isPodTerminal } from "../common/index.ts";

/** Exact amounts, in billionths of the resource's unit. */
export type Usage = Record<string, bigint>;

const ONE = 1_000_000_000n;

export function addUsage(into: Usage, more: Usage): void {
  for (const name in more) into[name] = (into[name] ?? 0n) + more[name]!;
}

/** What a pod counts as against a quota. https://kubernetes.io/docs/concepts/policy/resource-quotas/ */
export function podUsage(pod: k8s.Pod): Usage {
  const usage: Usage = { "count/pods": ONE };
  if (isPodTerminal(pod)) return usage;
  usage["pods"] = ONE;
  const requests = total(pod.spec!, "requests");
  const limits = total(pod.spec!, "limits");
  for (const [name, amount] of Object.entries(requests)) {
    if (["cpu", "memory", "ephemeral-storage"].includes(name)) usage[name] = amount;
    usage[`requests.${name}`] = amount;
  }
  for (const [name, amount] of Object.entries(limits)) usage[`limits.${name}`] = amount;
  return usage;
}

function total(spec: k8s.PodSpec, kind: "requests" | "limits"): Usage {
  const sum: Usage = {};
  const of = (container: k8s.Container) => parse(container.resources?.[kind]);
  for (const container of spec.containers) addUsage(sum, of(container));
  for (const container of spec.initContainers ?? []) {
    const own = of(container);
    if (container.restartPolicy === "Always") addUsage(sum, own);
    else for (const name in own) if (own[name]! > (sum[name] ?? 0n)) sum[name] = own[name]!;
  }
  if (spec.overhead) addUsage(sum, parse(spec.overhead));
  return sum;
}

function parse(amounts: Readonly<Record<string, string>> | undefined): Usage {
  return Object.fromEntries(Object.entries(amounts ?? {}).map(([name, text]) => [name, parseQuantityNano(text)]));
}

export function serviceUsage(service: k8s.Service): Usage {
  const usage: Usage = { services: ONE, "count/services": ONE };
  const ports = BigInt(service.spec?.ports?.length ?? 0);
  if (service.spec?.type === "LoadBalancer") usage["services.loadbalancers"] = ONE;
  if (service.spec?.type === "NodePort" || service.spec?.type === "LoadBalancer")
    usage["services.nodeports"] = ports * ONE;
  return usage;
}

export function claimUsage(claim: k8s.PersistentVolumeClaim): Usage {
  const storage = parse({ storage: claim.spec?.resources?.requests?.["storage"] ?? "0" })["storage"]!;
  const usage: Usage = {
    persistentvolumeclaims: ONE,
    "count/persistentvolumeclaims": ONE,
    "requests.storage": storage,
  };
  const storageClass = claim.spec?.storageClassName;
  if (storageClass) {
    usage[`${storageClass}.storageclass.storage.k8s.io/persistentvolumeclaims`] = ONE;
    usage[`${storageClass}.storageclass.storage.k8s.io/requests.storage`] = storage;
  }
  return usage;
}

/** Whether a scoped quota counts this pod. */
export function matchesScopes(spec: k8s.ResourceQuotaSpec | undefined, pod: k8s.Pod): boolean {
  const rules = [
    ...(spec?.scopes ?? []).map((scopeName) => ({ scopeName, operator: "Exists", values: [] as string[] })),
    ...(spec?.scopeSelector?.matchExpressions ?? []),
  ];
  return rules.every(({ scopeName, operator, values = [] }) => {
    if (scopeName === "PriorityClass") {
      const name = pod.spec?.priorityClassName;
      if (operator === "In") return name !== undefined && values.includes(name);
      if (operator === "NotIn") return name === undefined || !values.includes(name);
      return (name !== undefined) === (operator === "Exists");
    }
    return inScope(scopeName, pod);
  });
}

function inScope(scope: string, pod: k8s.Pod): boolean {
  const bestEffort =
    Object.keys(total(pod.spec!, "requests")).length === 0 && Object.keys(total(pod.spec!, "limits")).length === 0;
  if (scope === "BestEffort") return bestEffort;
  if (scope === "NotBestEffort") return !bestEffort;
  if (scope === "Terminating") return pod.spec?.activeDeadlineSeconds !== undefined;
  return scope === "NotTerminating" ? pod.spec?.activeDeadlineSeconds === undefined : false;
}

const BINARY: readonly [string, bigint][] = [
  ["Gi", 1n << 30n],
  ["Mi", 1n << 20n],
  ["Ki", 1n << 10n],
];

/** Written as people write it: binary suffixes for bytes, thousandths where it isn't whole. */
export function formatAmount(name: string, nano: bigint): string {
  if (nano % ONE !== 0n) return `${(nano + 999_999n) / 1_000_000n}m`;
  const whole = nano / ONE;
  if (!/memory|storage|hugepages/.test(name)) return String(whole);
  for (const [suffix, factor] of BINARY) if (whole !== 0n && whole % factor === 0n) return `${whole / factor}${suffix}`;
  return String(whole);
}
