import type { k8s, KubeObject } from "../../../api/index.ts";
import type { FieldError, StrategyContext } from "../../machinery/kind.ts";
import { ageColumn, nameColumn, orNone, text, wide } from "../shared/columns.ts";
import { deepEqual, forbidden } from "../shared/field-errors.ts";
import type { Peculiarities } from "../shared/peculiarities.ts";
import { defaultPodSpec } from "./pod-defaults.ts";
import { podLine } from "./pod-status-line.ts";
import { validatePodSpec } from "./pod-template.ts";
import { qosClassOf } from "./qos.ts";

type Pod = k8s.Pod;

export const pod: Peculiarities = {
  shortNames: ["po"],
  categories: ["all"],
  hasGeneration: true,
  fillDefaults(object) {
    const spec = ((object as Pod).spec ??= {} as k8s.PodSpec);
    spec.enableServiceLinks ??= true;
    defaultPodSpec(spec);
  },
  prepareForCreate(object) {
    object["status"] = { phase: "Pending", qosClass: qosClassOf((object as Pod).spec) };
    const gates = (object as Pod).spec?.schedulingGates ?? [];
    if (gates.length > 0) (object as Pod).status!.conditions = [gatedCondition];
  },
  prepareForUpdate(object, old, context) {
    keepByPart(object as Pod, old as Pod, context.subresource);
  },
  validate: (object) => validatePodSpec((object as Pod).spec, "spec"),
  validateUpdate,
  selectableFields: {
    "spec.nodeName": (object) => (object as Pod).spec?.nodeName ?? "",
    "spec.restartPolicy": (object) => (object as Pod).spec?.restartPolicy ?? "",
    "spec.schedulerName": (object) => (object as Pod).spec?.schedulerName ?? "",
    "spec.serviceAccountName": (object) => (object as Pod).spec?.serviceAccountName ?? "",
    "spec.hostNetwork": (object) => String((object as Pod).spec?.hostNetwork ?? false),
    "status.phase": (object) => (object as Pod).status?.phase ?? "",
    "status.podIP": (object) => (object as Pod).status?.podIP ?? "",
    "status.podIPs": (object) => ((object as Pod).status?.podIPs ?? []).map(({ ip }) => ip).join(","),
    "status.nominatedNodeName": (object) => (object as Pod).status?.nominatedNodeName ?? "",
  },
  gracePeriodSeconds,
  returnDeletedObject: true,
  updateSubresources: ["ephemeralcontainers", "resize"],
  columns: [
    nameColumn,
    text<Pod>("Ready", (object, nowMs) => podLine(object, nowMs).ready),
    text<Pod>("Status", (object, nowMs) => podLine(object, nowMs).status),
    text<Pod>("Restarts", (object, nowMs) => podLine(object, nowMs).restarts),
    ageColumn,
    wide(text<Pod>("IP", ({ status }) => orNone(status?.podIP ?? ""))),
    wide(text<Pod>("Node", ({ spec }) => orNone(spec?.nodeName ?? ""))),
    wide(text<Pod>("Nominated Node", ({ status }) => orNone(status?.nominatedNodeName ?? ""))),
    wide(text<Pod>("Readiness Gates", readinessGates)),
  ],
};

const gatedCondition: k8s.PodCondition = {
  type: "PodScheduled",
  status: "False",
  reason: "SchedulingGated",
  message: "Scheduling is blocked due to non-empty scheduling gates",
};

/** Not yet bound, or finished, goes at once; else what was asked for, or the Pod's own grace. */
function gracePeriodSeconds(object: KubeObject, requested: number | undefined): number {
  const { spec, status } = object as Pod;
  if (!spec?.nodeName || status?.phase === "Failed" || status?.phase === "Succeeded") return 0;
  return Math.max(0, requested ?? spec.terminationGracePeriodSeconds ?? 30);
}

/** Ephemeral containers and sizes have subresources of their own and can be changed nowhere else. */
function keepByPart(now: Pod, old: Pod, subresource: string): void {
  if (subresource === "status") {
    now.status!.qosClass ??= old.status?.qosClass;
    return;
  }
  now.status = old.status;
  if (subresource === "ephemeralcontainers") {
    now.spec = { ...old.spec!, ephemeralContainers: now.spec?.ephemeralContainers };
    if (now.spec.ephemeralContainers === undefined) delete now.spec.ephemeralContainers;
  }
  if (subresource === "resize") now.spec = resized(now.spec!, old.spec!);
}

/** The old spec with the new sizes. */
function resized(now: k8s.PodSpec, old: k8s.PodSpec): k8s.PodSpec {
  const resize = (container: k8s.Container): k8s.Container => {
    const wanted = [...now.containers, ...(now.initContainers ?? [])].find(({ name }) => name === container.name);
    return wanted === undefined ? container : { ...container, resources: wanted.resources };
  };
  const spec = { ...old, containers: old.containers.map(resize) };
  if (old.initContainers !== undefined) spec.initContainers = old.initContainers.map(resize);
  return spec;
}

const immutableMessage =
  "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

function validateUpdate(object: KubeObject, oldObject: KubeObject, context: StrategyContext): FieldError[] {
  const now = object as Pod;
  const old = oldObject as Pod;
  if (context.subresource === "status") return [];
  const errors = validatePodSpec(now.spec, "spec");
  if (context.subresource !== "") return errors;
  if (now.spec?.containers.length !== old.spec?.containers.length)
    return [...errors, forbidden("spec.containers", "pod updates may not add or remove containers")];
  if ((now.spec?.initContainers?.length ?? 0) !== (old.spec?.initContainers?.length ?? 0))
    return [...errors, forbidden("spec.initContainers", "pod updates may not add or remove containers")];
  if (!tolerationsOnlyAdded(now, old))
    errors.push(forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds"));
  if (!deepEqual(withoutMutable(now.spec!, old.spec!), old.spec))
    errors.push(forbidden("spec", `${immutableMessage}\n`));
  return errors;
}

/** The new spec with every field that may change put back. */
function withoutMutable(now: k8s.PodSpec, old: k8s.PodSpec): k8s.PodSpec {
  const restore = (containers: readonly k8s.Container[] | undefined, before: readonly k8s.Container[] | undefined) =>
    containers?.map((container, index) => ({ ...container, image: before?.[index]?.image }));
  const copy: k8s.PodSpec = { ...now, containers: restore(now.containers, old.containers)! };
  copy.initContainers = restore(now.initContainers, old.initContainers);
  copy.tolerations = old.tolerations;
  if (now.activeDeadlineSeconds !== undefined) copy.activeDeadlineSeconds = old.activeDeadlineSeconds;
  if ((old.terminationGracePeriodSeconds ?? 0) < 0)
    copy.terminationGracePeriodSeconds = old.terminationGracePeriodSeconds;
  if ((old.schedulingGates?.length ?? 0) > 0) {
    // Gated Pods may lose gates and be narrowed to fewer nodes.
    copy.schedulingGates = old.schedulingGates;
    copy.nodeSelector = old.nodeSelector;
    copy.affinity = old.affinity;
  }
  return copy;
}

function tolerationsOnlyAdded(now: Pod, old: Pod): boolean {
  const bare = ({ tolerationSeconds: _seconds, ...rest }: k8s.Toleration) => rest;
  return (old.spec?.tolerations ?? []).every((before) =>
    (now.spec?.tolerations ?? []).some((after) => deepEqual(bare(after), bare(before))),
  );
}

function readinessGates({ spec, status }: Pod): string {
  const gates = spec?.readinessGates ?? [];
  if (gates.length === 0) return "<none>";
  const met = gates.filter(({ conditionType }) =>
    status?.conditions?.some((condition) => condition.type === conditionType && condition.status === "True"),
  );
  return `${met.length}/${gates.length}`;
}
