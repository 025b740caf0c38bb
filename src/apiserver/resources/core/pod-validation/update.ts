import type { k8s } from "../../../../api/index.ts";
import type { FieldError } from "../../../machinery/kind.ts";
import { each, inRange } from "../../shared/checks.ts";
import { deepEqual, forbidden, invalid, required } from "../../shared/field-errors.ts";
import { qosClassOf } from "../qos.ts";
import { validateImageSpace } from "./containers.ts";
import { validateTolerations } from "./scheduling.ts";

/** What may still change in a Pod: upstream's ValidatePodUpdate and its neighbours. */

const mutable = [
  "`spec.containers[*].image`",
  "`spec.initContainers[*].image`",
  "`spec.activeDeadlineSeconds`",
  "`spec.tolerations` (only additions to existing tolerations)",
  "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
];

export function validatePodChange(now: k8s.Pod, old: k8s.Pod): FieldError[] {
  const spec = now.spec!;
  const before = old.spec!;
  const errors: FieldError[] = [];
  for (const list of ["containers", "initContainers"] as const) {
    if ((spec[list]?.length ?? 0) !== (before[list]?.length ?? 0))
      return [...errors, forbidden(`spec.${list}`, "pod updates may not add or remove containers")];
    errors.push(
      ...each(spec[list], `spec.${list}`, (container, at) => [
        ...(container.image ? [] : [required(`${at}.image`)]),
        ...validateImageSpace(container, at),
      ]),
    );
  }
  const deadline = validateDeadlineChange(spec.activeDeadlineSeconds, before.activeDeadlineSeconds);
  errors.push(...deadline);
  if (deadline.length > 0 && spec.activeDeadlineSeconds !== undefined) return errors;
  errors.push(...validateTolerationsKept(spec, before), ...validateGatesOnlyRemoved(spec, before));
  if (deepEqual(spec, before)) return errors;
  if ((old.status?.qosClass ?? qosClassOf(before)) !== qosClassOf(spec))
    errors.push(invalid("metadata", now.status?.qosClass ?? "", "Pod QoS is immutable"));
  if ((before.schedulingGates?.length ?? 0) > 0) errors.push(...validateNarrowed(spec, before));
  if (!deepEqual(withoutMutable(spec, before), before))
    errors.push(forbidden("spec", `pod updates may not change fields other than ${mutable.join(",")}\n`));
  return errors;
}

function validateDeadlineChange(now: number | undefined, old: number | undefined): FieldError[] {
  const at = "spec.activeDeadlineSeconds";
  if (now === undefined)
    return old === undefined ? [] : [invalid(at, null, "must not update from a positive integer to nil value")];
  const errors = inRange(at, now, 0, 2_147_483_647);
  if (errors.length > 0 || old === undefined || now <= old) return errors;
  return [invalid(at, now, "must be less than or equal to previous value")];
}

function validateTolerationsKept(now: k8s.PodSpec, old: k8s.PodSpec): FieldError[] {
  const bare = ({ tolerationSeconds: _seconds, ...rest }: k8s.Toleration) => rest;
  const kept = (old.tolerations ?? []).every((before) =>
    (now.tolerations ?? []).some((after) => deepEqual(bare(after), bare(before))),
  );
  return kept
    ? validateTolerations(now.tolerations, "spec.tolerations")
    : [forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")];
}

function validateGatesOnlyRemoved(now: k8s.PodSpec, old: k8s.PodSpec): FieldError[] {
  const known = new Set((old.schedulingGates ?? []).map(({ name }) => name));
  return each(now.schedulingGates, "spec.schedulingGates", ({ name }, at) =>
    known.has(name)
      ? []
      : [forbidden(`${at}.name`, `only deletion is allowed, but found new scheduling gate '${name}'`)],
  );
}

/** A gated Pod may be narrowed to fewer nodes, and not to others. */
function validateNarrowed(now: k8s.PodSpec, old: k8s.PodSpec): FieldError[] {
  const errors: FieldError[] = [];
  const lost = Object.entries(old.nodeSelector ?? {}).some(([key, value]) => now.nodeSelector?.[key] !== value);
  if (lost)
    errors.push(
      invalid(
        "spec.nodeSelector",
        now.nodeSelector,
        "only additions to spec.nodeSelector are allowed (no mutations or deletions)",
      ),
    );
  const terms = (spec: k8s.PodSpec) =>
    spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms ?? [];
  const before = terms(old);
  const after = terms(now);
  const at = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
  if (before.length > 0 && before.length !== after.length)
    return [...errors, invalid(at, after, "no additions/deletions to non-empty NodeSelectorTerms list are allowed")];
  return [
    ...errors,
    ...each(before, at, (term, here, index) =>
      hasOnlyAdditions(after[index]!, term)
        ? []
        : [invalid(here, after[index], "only additions are allowed (no mutations or deletions)")],
    ),
  ];
}

function hasOnlyAdditions(now: k8s.NodeSelectorTerm, old: k8s.NodeSelectorTerm): boolean {
  const lists = ["matchExpressions", "matchFields"] as const;
  if (lists.every((list) => (old[list] ?? []).length === 0))
    return lists.every((list) => (now[list] ?? []).length === 0);
  return lists.every((list) => deepEqual((now[list] ?? []).slice(0, old[list]?.length ?? 0), old[list] ?? []));
}

/** The new spec with every field that may change put back. */
function withoutMutable(now: k8s.PodSpec, old: k8s.PodSpec): k8s.PodSpec {
  const restore = (containers: readonly k8s.Container[] | undefined, before: readonly k8s.Container[] | undefined) =>
    containers?.map((container, index) => ({ ...container, image: before?.[index]?.image }));
  const copy: k8s.PodSpec = { ...now, containers: restore(now.containers, old.containers)! };
  copy.initContainers = restore(now.initContainers, old.initContainers);
  copy.tolerations = old.tolerations;
  copy.activeDeadlineSeconds = old.activeDeadlineSeconds;
  copy.schedulingGates = old.schedulingGates;
  if ((old.terminationGracePeriodSeconds ?? 0) < 0 && now.terminationGracePeriodSeconds === 1)
    copy.terminationGracePeriodSeconds = old.terminationGracePeriodSeconds;
  if ((old.schedulingGates?.length ?? 0) > 0) {
    copy.nodeSelector = old.nodeSelector;
    const { nodeAffinity: _now, ...others } = now.affinity ?? {};
    const nodeAffinity = old.affinity?.nodeAffinity;
    copy.affinity = nodeAffinity === undefined ? others : { ...others, nodeAffinity };
  }
  return copy;
}

/** Through `ephemeralcontainers`: containers come, and stay as they came. */
export function validateEphemeralChange(now: k8s.Pod, old: k8s.Pod): FieldError[] {
  if (old.metadata.annotations?.["kubernetes.io/config.mirror"] !== undefined)
    return [forbidden("", "static pods do not support ephemeral containers")];
  const at = "spec.ephemeralContainers";
  const after = new Map((now.spec?.ephemeralContainers ?? []).map((container) => [container.name, container]));
  return (old.spec?.ephemeralContainers ?? []).flatMap((before) => {
    const name = JSON.stringify(before.name);
    const container = after.get(before.name);
    if (container === undefined) return [forbidden(at, `existing ephemeral containers ${name} may not be removed\n`)];
    return deepEqual(container, before)
      ? []
      : [forbidden(at, `existing ephemeral containers ${name} may not be changed\n`)];
  });
}

const podFinished = ["Failed", "Succeeded"];

/** Through `resize`: CPU and memory of containers, within the same quality of service. */
export function validateResize(now: k8s.Pod, old: k8s.Pod): FieldError[] {
  if (old.metadata.annotations?.["kubernetes.io/config.mirror"] !== undefined)
    return [forbidden("", "static pods cannot be resized")];
  if (old.spec?.os?.name === "windows") return [forbidden("", "windows pods cannot be resized")];
  if (podFinished.includes(old.status?.phase ?? "")) return [];
  const errors: FieldError[] = [];
  for (const list of ["containers", "initContainers"] as const)
    errors.push(
      ...each(now.spec?.[list], `spec.${list}`, (container, at, index) =>
        validateSizes(container.resources, old.spec?.[list]?.[index]?.resources, `${at}.resources`),
      ),
    );
  if ((old.status?.qosClass ?? qosClassOf(old.spec)) !== qosClassOf(now.spec))
    errors.push(invalid("spec", now.status?.qosClass ?? "", "Pod QOS Class may not change as a result of resizing"));
  return errors;
}

function validateSizes(
  now: k8s.ResourceRequirements | undefined,
  old: k8s.ResourceRequirements | undefined,
  at: string,
): FieldError[] {
  const errors: FieldError[] = [];
  for (const part of ["limits", "requests"] as const) {
    const before = old?.[part] ?? {};
    const after = now?.[part] ?? {};
    for (const name of ["cpu", "memory"])
      if (before[name] !== undefined && after[name] === undefined)
        errors.push(forbidden(`${at}.${part}`, `resource ${part} cannot be removed`));
    const others = (sizes: Record<string, string>) =>
      Object.fromEntries(Object.entries(sizes).filter(([name]) => name !== "cpu" && name !== "memory"));
    if (!deepEqual(others(after), others(before)))
      errors.push(forbidden("spec", "only cpu and memory resources are mutable"));
  }
  return errors;
}
