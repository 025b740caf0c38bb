import type { Diagnosis } from "./cycle.ts";

interface Rule {
  /** Of what a plugin says about a node or about the pod. */
  readonly like: RegExp;
  /** One line: the cause, and the way out. */
  readonly line: string;
}

/** The first that fits counts. */
const RULES: readonly Rule[] = [
  {
    like: /^Insufficient (cpu|memory|ephemeral-storage)/,
    line: "the requests of the Pods that are there leave too little; kubectl describe nodes shows them: ask for less or delete some",
  },
  { like: /^Too many pods/, line: "the node has as many Pods as it may; delete some or add a node" },
  {
    like: /^Insufficient /,
    line: "no node offers as much of this resource; does its device plugin run? kubectl describe nodes",
  },
  {
    like: /untolerated taint \{node\.kubernetes\.io\//,
    line: "the node is not well; its conditions say why: kubectl describe nodes",
  },
  { like: /untolerated taint/, line: "tolerate the taint in the Pod, or take it away: kubectl taint nodes NODE KEY-" },
  { like: /unschedulable/, line: "the node is cordoned: kubectl uncordon NODE" },
  {
    like: /node affinity\/selector|requested node name/,
    line: "no node is like that; compare nodeSelector and affinity with kubectl get nodes --show-labels",
  },
  { like: /free ports/, line: "another Pod has the hostPort; take another, or a Service" },
  {
    like: /pod (anti-)?affinity|anti-affinity rules|topology spread/,
    line: "where the other Pods are leaves no place; use the preferred form (ScheduleAnyway) or add nodes",
  },
  {
    like: /^persistentvolumeclaim .* not found|^resourceclaim.* not found/,
    line: "create the claim in the Pod's namespace",
  },
  {
    like: /unbound immediate PersistentVolumeClaims|find available persistent volumes/,
    line: "no volume fits the claim yet: kubectl describe pvc; is there a StorageClass that makes one?",
  },
  { like: /volume|PersistentVolume/, line: "the claim's volume cannot be used there: kubectl describe pvc" },
  {
    like: /allocate all claims|resourceclaim/,
    line: "no free device fits: kubectl get resourceslices, kubectl get resourceclaims -A",
  },
  { like: /device class/, line: "create the DeviceClass, or name one of kubectl get deviceclasses" },
];

/** Upstream's words, and behind them what stands in the way most, with the way out. */
export function withAdvice(message: string, diagnosis: Diagnosis): string {
  const line = adviceFor(diagnosis);
  return line === undefined ? message : `${message} (berth: ${line})`;
}

function adviceFor({ nodeCount, preFilter, refusals }: Diagnosis): string | undefined {
  if (nodeCount === 0)
    return "no node has joined yet: kubectl get nodes; berth status says whether the node agent runs";
  const reasons = preFilter?.reasons ?? [...refusals.values()].flatMap((refusal) => refusal.reasons);
  const byCount = [...Map.groupBy(reasons, (reason) => reason)].toSorted(([, a], [, b]) => b.length - a.length);
  for (const [reason] of byCount) {
    const rule = RULES.find(({ like }) => like.test(reason));
    if (rule !== undefined) return rule.line;
  }
  return undefined;
}
