import type { k8s } from "../../../api/index.ts";
import type { FieldError } from "../../machinery/kind.ts";
import { defaultPodTemplate } from "../core/pod-defaults.ts";
import { ageColumn, humanDuration, nameColumn, text } from "../shared/columns.ts";
import { deepEqual, immutable } from "../shared/field-errors.ts";
import { validateJobSpec } from "./job-validation.ts";
import type { Peculiarities } from "../shared/peculiarities.ts";
import { workloadWideColumns } from "../apps/workload.ts";

type Job = k8s.Job;
type JobSpec = k8s.JobSpec;

export const job: Peculiarities = {
  categories: ["all"],
  hasGeneration: true,
  defaultPropagation: "Orphan",
  fillDefaults(object) {
    const it = object as Job;
    defaultJobSpec((it.spec ??= {} as JobSpec));
    // Upstream: an unlabelled Job takes its template's labels.
    const labels = it.spec.template?.metadata?.labels;
    if (it.metadata.labels === undefined && labels !== undefined) it.metadata.labels = { ...labels };
  },
  prepareForCreate(object) {
    const it = object as Job;
    it.status = {};
    if (it.spec?.manualSelector !== true) generateSelector(it);
  },
  validate: (object) => validateJobSpec((object as Job).spec, "spec"),
  validateUpdate: (object, old, context) =>
    context.subresource === "status"
      ? []
      : [...validateJobSpec((object as Job).spec, "spec"), ...validateKept((object as Job).spec, (old as Job).spec)],
  selectableFields: { "status.successful": (object) => String((object as Job).status?.succeeded ?? 0) },
  columns: [
    nameColumn,
    text<Job>("Status", statusOf),
    text<Job>("Completions", completionsOf),
    text<Job>("Duration", durationOf),
    ageColumn,
    ...workloadWideColumns,
  ],
};

/** For Jobs and the template in a CronJob. */
function defaultJobSpec(spec: JobSpec): void {
  if (spec.completions === undefined && spec.parallelism === undefined) {
    spec.completions = 1;
    spec.parallelism = 1;
  }
  spec.parallelism ??= 1;
  spec.backoffLimit ??= spec.backoffLimitPerIndex === undefined ? 6 : 2_147_483_647;
  spec.completionMode ??= "NonIndexed";
  spec.suspend ??= false;
  spec.podReplacementPolicy ??= spec.podFailurePolicy === undefined ? "TerminatingOrFailed" : "Failed";
  for (const rule of spec.podFailurePolicy?.rules ?? [])
    for (const pattern of rule.onPodConditions ?? []) (pattern as { status?: string }).status ??= "True";
  defaultPodTemplate(spec.template);
}

/** A Job selects its Pods by its own uid; the old unprefixed labels stay for older clients. */
function generateSelector(it: Job): void {
  const uid = it.metadata.uid ?? "";
  const name = it.metadata.name ?? "";
  const template = it.spec?.template;
  if (template === undefined) return;
  const meta = (template.metadata ??= {});
  meta.labels = {
    ...meta.labels,
    "batch.kubernetes.io/controller-uid": uid,
    "batch.kubernetes.io/job-name": name,
    "controller-uid": uid,
    "job-name": name,
  };
  it.spec!.selector ??= { matchLabels: { "batch.kubernetes.io/controller-uid": uid } };
}

function validateKept(now: JobSpec | undefined, old: JobSpec | undefined): FieldError[] {
  const errors: FieldError[] = [];
  if (old?.completionMode !== "Indexed")
    errors.push(...immutable("spec.completions", now?.completions, old?.completions));
  errors.push(...immutable("spec.selector", now?.selector, old?.selector));
  if (!deepEqual(withoutMutable(now, old), old?.template))
    errors.push(...immutable("spec.template", now?.template, old?.template));
  errors.push(...immutable("spec.completionMode", now?.completionMode, old?.completionMode));
  errors.push(...immutable("spec.podFailurePolicy", now?.podFailurePolicy, old?.podFailurePolicy));
  errors.push(...immutable("spec.backoffLimitPerIndex", now?.backoffLimitPerIndex, old?.backoffLimitPerIndex));
  errors.push(...immutable("spec.successPolicy", now?.successPolicy, old?.successPolicy));
  return errors;
}

/** A suspended Job that never ran may still be told where to run. */
function withoutMutable(now: JobSpec | undefined, old: JobSpec | undefined): k8s.PodTemplateSpec | undefined {
  if (old?.suspend !== true || now?.template === undefined) return now?.template;
  const before = old.template;
  return {
    metadata: { ...now.template.metadata, labels: before.metadata?.labels, annotations: before.metadata?.annotations },
    spec: {
      ...now.template.spec!,
      affinity: before.spec?.affinity,
      nodeSelector: before.spec?.nodeSelector,
      tolerations: before.spec?.tolerations,
      schedulingGates: before.spec?.schedulingGates,
    },
  };
}

function statusOf({ metadata, status }: Job): string {
  const has = (type: string) =>
    status?.conditions?.some((item) => item.type === type && item.status === "True") === true;
  if (has("Complete")) return "Complete";
  if (has("Failed")) return "Failed";
  if (metadata.deletionTimestamp !== undefined) return "Terminating";
  if (has("Suspended")) return "Suspended";
  if (has("FailureTarget")) return "FailureTarget";
  if (has("SuccessCriteriaMet")) return "SuccessCriteriaMet";
  return "Running";
}

function completionsOf({ spec, status }: Job): string {
  const done = status?.succeeded ?? 0;
  if (spec?.completions !== undefined) return `${done}/${spec.completions}`;
  const parallelism = spec?.parallelism ?? 0;
  return parallelism > 1 ? `${done}/1 of ${parallelism}` : `${done}/1`;
}

function durationOf({ status }: Job, nowMs: number): string {
  if (status?.startTime === undefined) return "";
  const failed = status.conditions?.find(({ type, status: value }) => type === "Failed" && value === "True");
  const end = status.completionTime ?? failed?.lastTransitionTime;
  return humanDuration((end === undefined ? nowMs : Date.parse(end)) - Date.parse(status.startTime));
}
