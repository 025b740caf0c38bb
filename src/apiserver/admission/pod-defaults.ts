import type { k8s, KubeObject } from "../../api/index.ts";
import type { ClusterState } from "../cluster-state.ts";
import type { Admission, AdmissionRequest } from "../machinery/pipeline.ts";
import { deepEqual } from "../resources/shared/field-errors.ts";
import { isPodCreate, isResource, refuse } from "./plugin.ts";

const defaultTolerationSeconds = 300;
const notReady = "node.kubernetes.io/not-ready";
const unreachable = "node.kubernetes.io/unreachable";

/** Pods stay five minutes on a node that stopped answering (DefaultTolerationSeconds). */
export const tolerationSeconds: Admission = {
  mutate(request) {
    if (!isPodWrite(request)) return;
    const spec = (request.object as k8s.Pod).spec!;
    for (const key of [notReady, unreachable]) {
      const tolerated = (spec.tolerations ?? []).some(
        (item) => (item.key === key || !item.key) && (item.effect === "NoExecute" || !item.effect),
      );
      if (tolerated) continue;
      const toleration = { key, operator: "Exists", effect: "NoExecute", tolerationSeconds: defaultTolerationSeconds };
      spec.tolerations = [...(spec.tolerations ?? []), toleration];
    }
  },
};

/** Not only new ones: who replaces a Pod by the manifest it was made from leaves out what was filled in. */
const isPodWrite = (request: AdmissionRequest): boolean =>
  isPodCreate(request) ||
  (isResource(request, "", "pods") && request.operation === "UPDATE" && request.subresource === "");

function keepPriority({ object, oldObject }: AdmissionRequest): void {
  const [spec, old] = [(object as k8s.Pod).spec, (oldObject as k8s.Pod).spec];
  if (spec === undefined || old === undefined) return;
  if (spec.priority === undefined && old.priority !== undefined) spec.priority = old.priority;
  if (spec.preemptionPolicy === undefined && old.preemptionPolicy !== undefined)
    spec.preemptionPolicy = old.preemptionPolicy;
}

/** Priority by class name, and the default class where none is named (Priority). */
export function priority(state: ClusterState): Admission {
  return {
    async mutate(request) {
      if (isPodWrite(request) && request.operation === "UPDATE") return keepPriority(request);
      if (!isPodCreate(request)) return;
      const spec = (request.object as k8s.Pod).spec!;
      const given = spec.priority;
      const found = spec.priorityClassName
        ? await state.priorityClasses.find(spec.priorityClassName)
        : (await state.priorityClasses.ready()).list().find(({ globalDefault }) => globalDefault === true);
      if (spec.priorityClassName && found === undefined)
        throw refuse(request, `no PriorityClass with name ${spec.priorityClassName} was found`);
      if (found !== undefined) spec.priorityClassName = found.metadata.name;
      spec.priority = found?.value ?? 0;
      if (given !== undefined && given !== spec.priority)
        throw refuse(
          request,
          `the integer value of priority (${given}) must not be provided in pod spec; priority admission controller computed ${spec.priority} from the given PriorityClass name`,
        );
      spec.preemptionPolicy ??= found?.preemptionPolicy ?? "PreemptLowerPriority";
    },
  };
}

/** What a runtime class costs and where it runs (RuntimeClass). */
export function runtimeClass(state: ClusterState): Admission {
  return {
    async mutate(request) {
      if (!isPodCreate(request)) return;
      const spec = (request.object as k8s.Pod).spec!;
      if (!spec.runtimeClassName) return;
      const found = await state.runtimeClasses.find(spec.runtimeClassName);
      if (found === undefined) throw refuse(request, `pod rejected: RuntimeClass "${spec.runtimeClassName}" not found`);
      const fixed = found.overhead?.podFixed;
      if (spec.overhead !== undefined && !deepEqual(spec.overhead, fixed))
        throw refuse(request, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead");
      if (fixed !== undefined) spec.overhead = { ...fixed };
      for (const [key, value] of Object.entries(found.scheduling?.nodeSelector ?? {})) {
        const given = spec.nodeSelector?.[key];
        if (given !== undefined && given !== value)
          throw refuse(
            request,
            `conflict: runtimeClass.scheduling.nodeSelector[${key}] = ${value}; pod.spec.nodeSelector[${key}] = ${given}`,
          );
        (spec.nodeSelector ??= {})[key] = value;
      }
      if (found.scheduling?.tolerations !== undefined)
        spec.tolerations = [...(spec.tolerations ?? []), ...structuredClone(found.scheduling.tolerations)];
    },
  };
}

/** A new node takes no Pods before it said that it is ready (TaintNodesByCondition). */
export const newNodeTaint: Admission = {
  mutate(request) {
    if (request.operation !== "CREATE" || !isResource(request, "", "nodes")) return;
    const node = request.object as k8s.Node;
    const taints = ((node.spec ??= {}).taints ??= []);
    if (!taints.some(({ key, effect }) => key === notReady && effect === "NoSchedule"))
      taints.push({ key: notReady, effect: "NoSchedule" });
  },
};

/** Volumes and claims in use are not deleted under their users (StorageObjectInUseProtection). */
export const storageProtection: Admission = {
  mutate(request) {
    if (request.operation !== "CREATE" || request.resource.group !== "") return;
    const finalizer = {
      persistentvolumeclaims: "kubernetes.io/pvc-protection",
      persistentvolumes: "kubernetes.io/pv-protection",
    }[request.resource.resource];
    if (finalizer === undefined || request.subresource !== "") return;
    const { metadata } = request.object!;
    if (!metadata.finalizers?.includes(finalizer)) metadata.finalizers = [...(metadata.finalizers ?? []), finalizer];
  },
};

const newest = <T extends { metadata: k8s.ObjectMeta }>(items: readonly T[]): T | undefined =>
  items.toSorted((a, b) => (b.metadata.creationTimestamp ?? "").localeCompare(a.metadata.creationTimestamp ?? ""))[0];

/** The class a claim gets that names none. */
export function defaultStorageClass(state: ClusterState): Admission {
  return {
    async mutate(request) {
      if (request.operation !== "CREATE" || request.subresource !== "") return;
      if (!isResource(request, "", "persistentvolumeclaims")) return;
      const spec = (request.object as k8s.PersistentVolumeClaim).spec!;
      if (spec.storageClassName !== undefined) return;
      const chosen = markedDefault(
        (await state.storageClasses.ready()).list(),
        "storageclass.kubernetes.io/is-default-class",
      );
      if (chosen !== undefined) spec.storageClassName = chosen.metadata.name;
    },
  };
}

/** The class an Ingress gets that names none. */
export function defaultIngressClass(state: ClusterState): Admission {
  return {
    async mutate(request) {
      if (request.operation !== "CREATE" || request.subresource !== "") return;
      if (!isResource(request, "networking.k8s.io", "ingresses")) return;
      const ingress = request.object as k8s.Ingress;
      const annotated = ingress.metadata.annotations?.["kubernetes.io/ingress.class"] !== undefined;
      if (annotated || ingress.spec?.ingressClassName !== undefined) return;
      const chosen = markedDefault(
        (await state.ingressClasses.ready()).list(),
        "ingressclass.kubernetes.io/is-default-class",
      );
      if (chosen !== undefined) (ingress.spec ??= {}).ingressClassName = chosen.metadata.name;
    },
  };
}

function markedDefault<T extends KubeObject>(classes: readonly T[], mark: string): T | undefined {
  return newest(classes.filter(({ metadata }) => metadata.annotations?.[mark] === "true"));
}
