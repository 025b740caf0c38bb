import type { k8s, KubeObject } from "../../../api/index.ts";
import type { FieldError, StrategyContext } from "../../machinery/kind.ts";
import { ageColumn, nameColumn, orNone, text, wide } from "../shared/columns.ts";
import { deepEqual, forbidden } from "../shared/field-errors.ts";
import type { Peculiarities } from "../shared/peculiarities.ts";
import { defaultPodSpec } from "./pod-defaults.ts";
import { podLine } from "./pod-status-line.ts";
import { validatePodAnnotations, validatePodAnnotationsKept } from "./pod-validation/annotations.ts";
import { validatePodSpec } from "./pod-validation/spec.ts";
import { validatePodStatus } from "./pod-validation/status.ts";
import { validateEphemeralChange, validatePodChange, validateResize } from "./pod-validation/update.ts";
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
  validate: validateCreate,
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

function validateCreate(object: KubeObject): FieldError[] {
  const { spec, metadata } = object as Pod;
  const errors = validateWhole(object as Pod);
  if ((spec?.ephemeralContainers ?? []).length > 0)
    errors.push(forbidden("spec.ephemeralContainers", "cannot be set on create"));
  if (spec?.nodeName && (spec.schedulingGates ?? []).length > 0)
    errors.push(forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared"));
  return [...validatePodAnnotations(metadata.annotations, spec, "metadata.annotations"), ...errors];
}

const validateWhole = ({ spec, metadata }: Pod): FieldError[] =>
  validatePodSpec(spec, "spec", { pod: { name: metadata.name } });

function validateUpdate(object: KubeObject, oldObject: KubeObject, context: StrategyContext): FieldError[] {
  const now = object as Pod;
  const old = oldObject as Pod;
  if (context.subresource === "status") return validatePodStatus(now, old);
  // What was stored under older rules may stay: else nothing could take its finalizers away.
  const errors = deepEqual(now.spec, old.spec) ? [] : validateWhole(now);
  errors.push(
    ...validatePodAnnotationsKept(now.metadata.annotations, old.metadata.annotations, "metadata.annotations"),
    ...validatePodAnnotations(now.metadata.annotations, now.spec, "metadata.annotations"),
  );
  if (context.subresource === "ephemeralcontainers") return [...errors, ...validateEphemeralChange(now, old)];
  if (context.subresource === "resize") return [...errors, ...validateResize(now, old)];
  return context.subresource === "" ? [...errors, ...validatePodChange(now, old)] : errors;
}

function readinessGates({ spec, status }: Pod): string {
  const gates = spec?.readinessGates ?? [];
  if (gates.length === 0) return "<none>";
  const met = gates.filter(({ conditionType }) =>
    status?.conditions?.some((condition) => condition.type === conditionType && condition.status === "True"),
  );
  return `${met.length}/${gates.length}`;
}
