import type { k8s } from "../../api/index.ts";
import type { Stored } from "../../client/index.ts";
import { isPodActive, isPodReady, type Pod } from "../common/index.ts";

export type Job = Stored<k8s.Job>;
export const FINALIZER = "batch.kubernetes.io/job-tracking";
export const INDEX = "batch.kubernetes.io/job-completion-index";
export const INDEX_FAILURES = "batch.kubernetes.io/job-index-failure-count";

export function isIndexed(job: k8s.Job): boolean {
  return job.spec?.completionMode === "Indexed";
}

export function indexOf(pod: k8s.Pod): number {
  const text = pod.metadata.annotations?.[INDEX];
  return text === undefined ? -1 : Number(text);
}

/** `1,3-5,7` and back. */
export function parseIndexes(text: string | undefined): Set<number> {
  const found = new Set<number>();
  for (const part of text ? text.split(",") : []) {
    const [from, to = from] = part.split("-").map(Number);
    for (let index = from!; index <= to!; index++) found.add(index);
  }
  return found;
}
export function formatIndexes(indexes: ReadonlySet<number>): string {
  const sorted = [...indexes].sort((left, right) => left - right);
  const parts: string[] = [];
  for (let at = 0; at < sorted.length;) {
    let end = at;
    while (sorted[end + 1] === sorted[end]! + 1) end++;
    parts.push(
      end === at ? `${sorted[at]}` : end === at + 1 ? `${sorted[at]},${sorted[end]}` : `${sorted[at]}-${sorted[end]}`,
    );
    at = end + 1;
  }
  return parts.join(",");
}

export type FailureAction = "Count" | "Ignore" | "FailJob" | "FailIndex";

/** What the pod failure policy says of a failed pod: the first rule that matches decides. */
export function failureAction(job: k8s.Job, pod: Pod): { action: FailureAction; message?: string } {
  for (const [index, rule] of (job.spec?.podFailurePolicy?.rules ?? []).entries()) {
    const reason = matchExitCodes(rule, pod) ?? matchConditions(rule, pod);
    if (reason)
      return {
        action: rule.action as FailureAction,
        message: `${reason} matching ${rule.action} rule at index ${index}`,
      };
  }
  return { action: "Count" };
}

function matchExitCodes(rule: k8s.PodFailurePolicyRule, pod: Pod): string | undefined {
  const wanted = rule.onExitCodes;
  if (!wanted) return undefined;
  const statuses = [...(pod.status?.initContainerStatuses ?? []), ...(pod.status?.containerStatuses ?? [])];
  const found = statuses.find(({ name, state }) => {
    const code = state?.terminated?.exitCode ?? 0;
    if (code === 0 || (wanted.containerName && wanted.containerName !== name)) return false;
    return wanted.values.includes(code) === (wanted.operator === "In");
  });
  return (
    found &&
    `Container ${found.name} for pod ${pod.metadata.namespace}/${pod.metadata.name} failed with exit code ${found.state!.terminated!.exitCode}`
  );
}

function matchConditions(rule: k8s.PodFailurePolicyRule, pod: Pod): string | undefined {
  const wanted = rule.onPodConditions ?? [];
  const matches = wanted.some(({ type, status }) =>
    pod.status?.conditions?.some((condition) => condition.type === type && condition.status === status),
  );
  return matches ? `Pod ${pod.metadata.namespace}/${pod.metadata.name} has condition ${wanted[0]!.type}` : undefined;
}

/** Pods sorted into what the job's status counts. */
export interface Tally {
  readonly active: Pod[];
  /** Finished, with our finalizer still on: not yet in the status' counters. */
  readonly newSucceeded: Pod[];
  readonly newFailed: Pod[];
  readonly terminating: Pod[];
  readonly ready: number;
}

export function tally(job: Job, pods: readonly Pod[]): Tally {
  const uncounted = new Set([
    ...(job.status?.uncountedTerminatedPods?.succeeded ?? []),
    ...(job.status?.uncountedTerminatedPods?.failed ?? []),
  ]);
  const result: Tally = {
    active: [],
    newSucceeded: [],
    newFailed: [],
    terminating: [],
    ready: pods.filter((pod) => isPodActive(pod) && isPodReady(pod)).length,
  };
  const replaceOnlyFailed = job.spec?.podReplacementPolicy === "Failed" || job.spec?.podFailurePolicy !== undefined;
  for (const pod of pods) {
    const pending = pod.metadata.finalizers?.includes(FINALIZER) && !uncounted.has(pod.metadata.uid);
    if (pod.status?.phase === "Succeeded") {
      if (pending) result.newSucceeded.push(pod);
    } else if (pod.status?.phase === "Failed") {
      if (pending) result.newFailed.push(pod);
    } else if (pod.metadata.deletionTimestamp) {
      result.terminating.push(pod);
      // A pod on its way out counts as failed at once, unless the job waits for it to be so in fact.
      if (pending && !replaceOnlyFailed) result.newFailed.push(pod);
    } else result.active.push(pod);
  }
  return result;
}

export interface Verdict {
  readonly type: "Complete" | "Failed";
  readonly reason: string;
  readonly message: string;
}

export interface Counts {
  readonly succeeded: number;
  readonly failed: number;
  readonly completedIndexes: ReadonlySet<number>;
  readonly failedIndexes: ReadonlySet<number>;
  /** Set by a FailJob rule. */
  readonly policyFailure?: string;
  readonly active: number;
  /** Of pods that never restart on their own; else restarts of running ones. */
  readonly restarts: number;
}

/** Whether the job is over. https://kubernetes.io/docs/concepts/workloads/controllers/job/ */
export function verdictOf(job: Job, counts: Counts, nowMs: number): Verdict | undefined {
  const { spec } = job;
  const decided = decidedBefore(job);
  if (decided) return decided;
  const failed = (reason: string, message: string): Verdict => ({ type: "Failed", reason, message });
  if (counts.policyFailure) return failed("PodFailurePolicy", counts.policyFailure);
  const limit = spec?.backoffLimit ?? 6;
  const restartedTooOften =
    spec?.template?.spec?.restartPolicy === "OnFailure" && counts.restarts > 0 && counts.restarts >= limit;
  if (spec?.backoffLimitPerIndex === undefined && (counts.failed > limit || restartedTooOften)) {
    return failed("BackoffLimitExceeded", "Job has reached the specified backoff limit");
  }
  const deadline = spec?.activeDeadlineSeconds;
  if (
    deadline !== undefined &&
    job.status?.startTime &&
    !spec?.suspend &&
    nowMs - Date.parse(job.status.startTime) >= deadline * 1000
  ) {
    return failed("DeadlineExceeded", "Job was active longer than specified deadline");
  }
  if (spec?.backoffLimitPerIndex !== undefined) {
    if (spec.maxFailedIndexes !== undefined && counts.failedIndexes.size > spec.maxFailedIndexes) {
      return failed("MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes");
    }
    if (
      counts.failedIndexes.size > 0 &&
      counts.failedIndexes.size + counts.completedIndexes.size >= (spec.completions ?? 0)
    ) {
      return failed("FailedIndexes", "Job has failed indexes");
    }
  }
  return completion(job, counts);
}

/** What has been decided stays so while the last pods stop, even where its cause (a FailJob rule's pod) is no longer new. */
function decidedBefore(job: Job): Verdict | undefined {
  const target = job.status?.conditions?.find(
    ({ type, status }) => (type === "FailureTarget" || type === "SuccessCriteriaMet") && status === "True",
  );
  if (!target) return undefined;
  const { type, reason = "", message = "" } = target;
  return { type: type === "FailureTarget" ? "Failed" : "Complete", reason, message };
}

function completion(job: Job, counts: Counts): Verdict | undefined {
  const rule = isIndexed(job) ? successRule(job, counts.completedIndexes) : -1;
  if (rule >= 0) return { type: "Complete", reason: "SuccessPolicy", message: `Matched rules at index ${rule}` };
  const { completions } = job.spec ?? {};
  const reached =
    completions === undefined
      ? counts.succeeded > 0 && counts.active === 0
      : isIndexed(job)
        ? counts.completedIndexes.size >= completions
        : counts.succeeded >= completions;
  return reached
    ? { type: "Complete", reason: "CompletionsReached", message: "Reached expected number of succeeded pods" }
    : undefined;
}

function successRule(job: Job, completed: ReadonlySet<number>): number {
  return (job.spec?.successPolicy?.rules ?? []).findIndex(({ succeededIndexes, succeededCount }) => {
    const wanted = succeededIndexes === undefined ? undefined : parseIndexes(succeededIndexes);
    const matching = wanted ? [...completed].filter((index) => wanted.has(index)).length : completed.size;
    return succeededCount === undefined ? wanted !== undefined && matching === wanted.size : matching >= succeededCount;
  });
}

/** Which pods to add (by index; -1 in a job without) or remove. */
export function planPods(job: Job, sorted: Tally, counts: Counts): { create: number[]; remove: Pod[] } {
  const { active } = sorted;
  const parallelism = job.spec?.parallelism ?? 1;
  const { completions } = job.spec ?? {};
  const onlyFailed = job.spec?.podReplacementPolicy === "Failed" || job.spec?.podFailurePolicy !== undefined;
  const occupied = active.length + (onlyFailed ? sorted.terminating.length : 0);
  let wanted = parallelism;
  if (completions === undefined) {
    // A work queue: once one succeeded, no new pods start.
    if (counts.succeeded > 0) wanted = Math.min(parallelism, active.length);
  } else {
    const finished = isIndexed(job) ? counts.completedIndexes.size + counts.failedIndexes.size : counts.succeeded;
    wanted = Math.min(parallelism, Math.max(0, completions - finished));
  }
  if (active.length > wanted) {
    const notReadyFirst = [...active].sort((left, right) => Number(isPodReady(left)) - Number(isPodReady(right)));
    return { create: [], remove: notReadyFirst.slice(0, active.length - wanted) };
  }
  const missing = Math.max(0, wanted - occupied);
  if (!isIndexed(job)) return { create: Array<number>(missing).fill(-1), remove: [] };
  const busy = new Set([...active, ...(onlyFailed ? sorted.terminating : [])].map(indexOf));
  const create: number[] = [];
  for (let index = 0; index < (completions ?? 0) && create.length < missing; index++) {
    if (!busy.has(index) && !counts.completedIndexes.has(index) && !counts.failedIndexes.has(index)) create.push(index);
  }
  return { create, remove: [] };
}

const FIRST_BACKOFF_MS = 10_000;
const MAX_BACKOFF_MS = 600_000;

/** How long the next pods have to wait after failures in a row since the last success. */
export function backoffMs(failedPods: readonly Pod[], succeededPods: readonly Pod[], nowMs: number): number {
  const finishedMs = (pod: Pod) => {
    const times = (pod.status?.containerStatuses ?? []).flatMap(({ state }) => state?.terminated?.finishedAt ?? []);
    return Date.parse(times.sort().at(-1) ?? pod.metadata.deletionTimestamp ?? pod.metadata.creationTimestamp ?? "");
  };
  const lastSuccess = Math.max(0, ...succeededPods.map(finishedMs));
  const failures = failedPods.map(finishedMs).filter((ms) => ms > lastSuccess);
  if (failures.length === 0) return 0;
  const waitMs = Math.min(FIRST_BACKOFF_MS * 2 ** (failures.length - 1), MAX_BACKOFF_MS);
  return Math.max(0, Math.max(...failures) + waitMs - nowMs);
}
