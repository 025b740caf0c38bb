import type { k8s } from "../../api/index.ts";
import type { ClusterState } from "../cluster-state.ts";
import type { Admission } from "../machinery/pipeline.ts";
import { deepEqual } from "../resources/shared/field-errors.ts";
import { isPodCreate, isResource, refuse } from "./plugin.ts";

const defaultTolerationSeconds = 300;
const notReady = "node.kubernetes.io/not-ready";
const unreachable = "node.kubernetes.io/unreachable";

/** Pods stay five minutes on a node that stopped answering (DefaultTolerationSeconds). */
export const tolerationSeconds: Admission = {
  mutate(request) {
    if (!isPodCreate(request)) return;
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

/** Priority by class name, and the default class where none is named (Priority). */
export function priority(state: ClusterState): Admission {
  return {
    async mutate(request) {
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

/** The class a claim gets that names none (DefaultStorageClass), and an Ingress (DefaultIngressClass). */
export function defaultClasses(state: ClusterState): Admission {
  return {
    async mutate(request) {
      if (request.operation !== "CREATE" || request.subresource !== "") return;
      if (isResource(request, "", "persistentvolumeclaims")) {
        const spec = (request.object as k8s.PersistentVolumeClaim).spec!;
        if (spec.storageClassName !== undefined) return;
        const classes = (await state.storageClasses.ready()).list();
        const chosen = newest(
          classes.filter(
            ({ metadata }) => metadata.annotations?.["storageclass.kubernetes.io/is-default-class"] === "true",
          ),
        );
        if (chosen !== undefined) spec.storageClassName = chosen.metadata.name;
      } else if (isResource(request, "networking.k8s.io", "ingresses")) {
        const ingress = request.object as k8s.Ingress;
        const annotated = ingress.metadata.annotations?.["kubernetes.io/ingress.class"] !== undefined;
        if (annotated || ingress.spec?.ingressClassName !== undefined) return;
        const classes = (await state.ingressClasses.ready()).list();
        const chosen = newest(
          classes.filter(
            ({ metadata }) => metadata.annotations?.["ingressclass.kubernetes.io/is-default-class"] === "true",
          ),
        );
        if (chosen !== undefined) (ingress.spec ??= {}).ingressClassName = chosen.metadata.name;
      }
    },
  };
}
