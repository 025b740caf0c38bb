import type { k8s } from "../src/api/index.ts";

/** One way of making pods, with what upstream's test of that name asks for at least. */
export interface Case {
  /** Pods that are there before, of which the scheduler knows all; as many as nodes, or this share of them. */
  readonly initial?: { readonly perNode: number; readonly pod: Pod };
  readonly pod: Pod;
  /** At most so many: where each needs a node of its own. */
  readonly atMostPerNode?: number;
  readonly zones: number;
  /** Made every 200 ms meanwhile: what must preempt, or cannot be placed. */
  readonly churn?: Pod;
  /** Pods a second that upstream's scheduler_perf demands of this case with 5,000 nodes; undefined where it demands nothing. */
  readonly threshold?: number;
}
interface Pod {
  readonly labels?: Readonly<Record<string, string>>;
  readonly cpu?: string;
  readonly spec?: Partial<k8s.PodSpec>;
}

const NAMESPACES = ["default"];
const HOST = "kubernetes.io/hostname";
const ZONE = "topology.kubernetes.io/zone";
const plain: Pod = {};
const term = (color: string, topologyKey: string): k8s.PodAffinityTerm => ({
  labelSelector: { matchLabels: { color } },
  topologyKey,
  namespaces: NAMESPACES,
});
const colored = (color: string, affinity: k8s.Affinity): Pod => ({ labels: { color }, spec: { affinity } });
const required = (color: string, topologyKey: string) => ({
  requiredDuringSchedulingIgnoredDuringExecution: [term(color, topologyKey)],
});
const preferred = (color: string) => ({
  preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 1, podAffinityTerm: term(color, HOST) }],
});
const spread = (whenUnsatisfiable: "DoNotSchedule" | "ScheduleAnyway"): Pod => ({
  labels: { color: "blue" },
  spec: {
    topologySpreadConstraints: [
      { maxSkew: 5, topologyKey: ZONE, whenUnsatisfiable, labelSelector: { matchLabels: { color: "blue" } } },
    ],
  },
});
const antiAffinity = colored("green", { podAntiAffinity: required("green", HOST) });
const affinity = colored("blue", { podAffinity: required("blue", ZONE) });
const preferredAffinity = colored("red", { podAffinity: preferred("red") });
const preferredAntiAffinity = colored("yellow", { podAntiAffinity: preferred("yellow") });
const low: Pod = { cpu: "900m" };
const high: Pod = { cpu: "3", spec: { priority: 10 } };
const never: Pod = { cpu: "9", spec: { priority: 10 } };

/** The loads of test/integration/scheduler_perf (kubernetes v1.34), on nodes of 4 cores and 32 GiB. */
export const cases: Readonly<Record<string, Case>> = {
  basic: { zones: 10, pod: plain, initial: { perNode: 0.2, pod: plain }, threshold: 680 },
  "anti-affinity": {
    zones: 1,
    pod: antiAffinity,
    atMostPerNode: 0.4,
    initial: { perNode: 0.2, pod: antiAffinity },
    threshold: 60,
  },
  affinity: { zones: 1, pod: affinity, initial: { perNode: 1, pod: affinity }, threshold: 35 },
  "preferred-affinity": {
    zones: 1,
    pod: preferredAffinity,
    initial: { perNode: 1, pod: preferredAffinity },
    threshold: 90,
  },
  "preferred-anti-affinity": {
    zones: 1,
    pod: preferredAntiAffinity,
    initial: { perNode: 1, pod: preferredAntiAffinity },
    threshold: 90,
  },
  spread: { zones: 3, pod: spread("DoNotSchedule"), initial: { perNode: 1, pod: plain }, threshold: 460 },
  "preferred-spread": { zones: 3, pod: spread("ScheduleAnyway"), initial: { perNode: 1, pod: plain }, threshold: 340 },
  preemption: { zones: 1, pod: plain, initial: { perNode: 4, pod: low }, churn: high, threshold: 570 },
  unschedulable: { zones: 1, pod: plain, initial: { perNode: 0.02, pod: plain }, churn: never, threshold: 590 },
};

export function podOf({ labels, cpu = "100m", spec }: Pod, name: string): k8s.Pod {
  const requests = { cpu, memory: "500Mi" };
  return {
    metadata: { name, namespace: NAMESPACES[0], labels: { ...labels } },
    spec: { containers: [{ name: "main", image: "pause", resources: { requests } }], ...spec },
  };
}
