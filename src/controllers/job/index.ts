import type { k8s } from "../../api/index.ts";
import { hasCode, randomSuffix, rfc3339 } from "../../base/index.ts";
import { resources, splitKey } from "../../client/index.ts";
import {
  claim,
  controllerOf,
  createPod,
  deletePod,
  Expectations,
  isPodTerminal,
  podFromTemplate,
  restartsOf,
  sameJson,
  slowStart,
  watchOwnersAndPods,
  withCondition,
  type Pod,
} from "../common/index.ts";
import type { Controller, ControllerContext } from "../controller.ts";
import * as plan from "./plan.ts";

type Job = plan.Job;

/** Terminated pods taken into the status at once (upstream's MaxUncountedPods). */
const MAX_UNCOUNTED = 500;
const MAX_CREATED = 500;
const JOB_NAME = "batch.kubernetes.io/job-name";

/** https://kubernetes.io/docs/concepts/workloads/controllers/job/ */
export const jobController: Controller = {
  name: "job-controller",
  setup: (context) => new JobReconciler(context),
};

class JobReconciler {
  readonly #context: ControllerContext;
  readonly #expectations: Expectations;

  constructor(context: ControllerContext) {
    this.#context = context;
    this.#expectations = new Expectations(context.clock, (key) => context.enqueue(key));
    watchOwnersAndPods(context, resources.jobs, {
      created: (key) => this.#expectations.creationObserved(key),
      gone: (key, pod) => this.#expectations.deletionObserved(key, pod.metadata.uid),
    });
  }

  async reconcile(key: string, signal: AbortSignal): Promise<{ requeueAfterMs?: number } | void> {
    const job = this.#context.informer(resources.jobs).get(key);
    await this.#releaseOrphans(key, job, signal);
    if (!job) return this.#expectations.forget(key);
    if (job.spec?.managedBy && job.spec.managedBy !== "kubernetes.io/job-controller") return;
    const pods = await this.#claim(job, key);
    if (isFinished(job) || job.metadata.deletionTimestamp) return this.#releaseAll(job, pods, signal);
    return this.#sync(job, key, pods, signal);
  }

  #claim(job: Job, key: string): Promise<Pod[]> {
    const { client, informer } = this.#context;
    return claim({
      owner: job,
      resource: resources.jobs,
      selector: job.spec?.selector,
      informer: informer(resources.pods),
      client: client.of(resources.pods),
      freshOwner: () => client.of(resources.jobs).get(splitKey(key)),
    });
  }

  async #sync(
    job: Job,
    key: string,
    pods: readonly Pod[],
    signal: AbortSignal,
  ): Promise<{ requeueAfterMs?: number } | void> {
    const nowMs = this.#context.clock.nowMs();
    const status: k8s.JobStatus = settleUncounted(job, pods);
    if (!status.startTime && !job.spec?.suspend) status.startTime = rfc3339(nowMs);
    const sorted = plan.tally({ ...job, status }, pods);
    const { policyFailure, uncountable } = countFinished(job, sorted, status);
    const counts = this.#counts(job, status, sorted, policyFailure);
    const verdict = plan.verdictOf({ ...job, status }, counts, nowMs);
    const waitMs = verdict ? undefined : await this.#managePods(job, key, pods, sorted, counts, signal);
    if (verdict) await this.#stop(job, key, sorted.active, signal);
    this.#describe(job, status, sorted, verdict, nowMs);
    const written = sameJson(status, job.status)
      ? job
      : await this.#context.client.of(resources.jobs).updateStatus({ ...job, status }, { signal });
    await this.#releaseCounted(written, pods, signal);
    await Promise.all(uncountable.map((pod) => this.#release(pod, signal)));
    return this.#next(job, status, waitMs, nowMs);
  }

  #counts(job: Job, status: k8s.JobStatus, sorted: plan.Tally, policyFailure: string | undefined): plan.Counts {
    const uncounted = status.uncountedTerminatedPods;
    return {
      succeeded: (status.succeeded ?? 0) + (uncounted?.succeeded?.length ?? 0),
      failed: (status.failed ?? 0) + (uncounted?.failed?.length ?? 0),
      completedIndexes: plan.parseIndexes(status.completedIndexes),
      failedIndexes: plan.parseIndexes(status.failedIndexes),
      policyFailure,
      active: sorted.active.length,
      restarts:
        job.spec?.template?.spec?.restartPolicy === "OnFailure"
          ? sorted.active.reduce((sum, pod) => sum + restartsOf(pod), 0)
          : 0,
    };
  }

  /** Creates and deletes; returns how long to wait when a backoff holds creations back. */
  async #managePods(
    job: Job,
    key: string,
    pods: readonly Pod[],
    sorted: plan.Tally,
    counts: plan.Counts,
    signal: AbortSignal,
  ): Promise<number | undefined> {
    if (!this.#expectations.satisfied(key)) return undefined;
    if (job.spec?.suspend) {
      await this.#stop(job, key, sorted.active, signal);
      return undefined;
    }
    const { create, remove } = plan.planPods(job, sorted, counts);
    if (remove.length > 0) await this.#stop(job, key, remove, signal);
    if (create.length === 0) return undefined;
    const failed = pods.filter(({ status }) => status?.phase === "Failed");
    const succeeded = pods.filter(({ status }) => status?.phase === "Succeeded");
    const waitMs = plan.backoffMs(failed, succeeded, this.#context.clock.nowMs());
    if (waitMs > 0) return waitMs;
    await this.#create(job, key, create.slice(0, MAX_CREATED), pods, signal);
    return undefined;
  }

  async #create(
    job: Job,
    key: string,
    indexes: readonly number[],
    pods: readonly Pod[],
    signal: AbortSignal,
  ): Promise<void> {
    this.#expectations.expectCreations(key, indexes.length);
    const { succeeded, error } = await slowStart(indexes.length, (at) =>
      createPod(this.#context, job, this.#podFor(job, indexes[at]!, pods), signal),
    );
    for (let missing = indexes.length - succeeded; missing > 0; missing--) this.#expectations.creationObserved(key);
    if (error !== undefined) throw error;
  }

  #podFor(job: Job, index: number, pods: readonly Pod[]): k8s.Pod {
    const pod = podFromTemplate(job.spec!.template!, job, resources.jobs);
    const finalizers = [...(pod.metadata.finalizers ?? []), plan.FINALIZER];
    if (index < 0) return { ...pod, metadata: { ...pod.metadata, finalizers } };
    const annotations: Record<string, string> = { ...pod.metadata.annotations, [plan.INDEX]: String(index) };
    if (job.spec?.backoffLimitPerIndex !== undefined) {
      const failures = pods
        .filter((other) => plan.indexOf(other) === index && other.status?.phase === "Failed")
        .map(failuresOf);
      annotations[plan.INDEX_FAILURES] = String(failures.length > 0 ? Math.max(...failures) + 1 : 0);
    }
    const prefix = `${job.metadata.name}-${index}`;
    const env = {
      name: "JOB_COMPLETION_INDEX",
      valueFrom: { fieldRef: { fieldPath: `metadata.labels['${plan.INDEX}']` } },
    };
    const withIndex = (container: k8s.Container) =>
      container.env?.some(({ name }) => name === env.name)
        ? container
        : { ...container, env: [...(container.env ?? []), env] };
    return {
      ...pod,
      metadata: {
        ...pod.metadata,
        name: `${prefix}-${randomSuffix(this.#context.random, 5)}`,
        labels: { ...pod.metadata.labels, [plan.INDEX]: String(index) },
        annotations,
        finalizers,
      },
      spec: {
        ...pod.spec!,
        hostname: prefix,
        containers: pod.spec!.containers.map(withIndex),
        initContainers: pod.spec!.initContainers?.map(withIndex),
      },
    };
  }

  async #stop(job: Job, key: string, pods: readonly Pod[], signal: AbortSignal): Promise<void> {
    this.#expectations.expectDeletions(
      key,
      pods.map((pod) => pod.metadata.uid),
    );
    const results = await Promise.allSettled(pods.map((pod) => deletePod(this.#context, job, pod, signal)));
    results.forEach((result, index) => {
      if (result.status === "rejected") this.#expectations.deletionObserved(key, pods[index]!.metadata.uid);
    });
  }

  /** Conditions, counts and events. */
  #describe(
    job: Job,
    status: k8s.JobStatus,
    sorted: plan.Tally,
    verdict: plan.Verdict | undefined,
    nowMs: number,
  ): void {
    const over = verdict !== undefined || job.spec?.suspend;
    status.active = over ? undefined : sorted.active.length || undefined;
    status.ready = over ? 0 : sorted.ready;
    status.terminating = sorted.terminating.length + (over ? sorted.active.length : 0);
    this.#describeSuspension(job, status, nowMs);
    if (!verdict) return;
    const { type, reason, message } = verdict;
    const set = (name: string) => {
      const condition = { type: name, status: "True", reason, message, lastProbeTime: rfc3339(nowMs) };
      if (!status.conditions?.some((each) => each.type === name))
        status.conditions = withCondition(status.conditions, condition, nowMs);
    };
    set(type === "Complete" ? "SuccessCriteriaMet" : "FailureTarget");
    // The final condition comes once every pod has stopped and is counted.
    const pending = status.uncountedTerminatedPods;
    const open =
      (pending?.succeeded?.length ?? 0) +
      (pending?.failed?.length ?? 0) +
      sorted.active.length +
      sorted.terminating.length;
    if (open > 0) return;
    set(type);
    if (type === "Complete") {
      status.completionTime = rfc3339(nowMs);
      this.#context.events.event(job, "Normal", "Completed", "Job completed");
    } else this.#context.events.event(job, "Warning", reason, message);
  }

  #describeSuspension(job: Job, status: k8s.JobStatus, nowMs: number): void {
    const suspended =
      status.conditions?.some(({ type, status: state }) => type === "Suspended" && state === "True") ?? false;
    if (suspended === (job.spec?.suspend ?? false)) return;
    const [state, reason, message] = suspended
      ? ["False", "JobResumed", "Job resumed"]
      : ["True", "JobSuspended", "Job suspended"];
    const condition = { type: "Suspended", status: state!, reason, message, lastProbeTime: rfc3339(nowMs) };
    status.conditions = withCondition(status.conditions, condition, nowMs);
    status.startTime = suspended ? rfc3339(nowMs) : undefined;
    this.#context.events.event(job, "Normal", suspended ? "Resumed" : "Suspended", message!);
  }

  /** Pods whose uid the written status holds can be let go: they won't be counted twice. */
  async #releaseCounted(job: Job, pods: readonly Pod[], signal: AbortSignal): Promise<void> {
    const { succeeded = [], failed = [] } = job.status?.uncountedTerminatedPods ?? {};
    const counted = new Set([...succeeded, ...failed]);
    await Promise.all(pods.filter((pod) => counted.has(pod.metadata.uid)).map((pod) => this.#release(pod, signal)));
  }

  async #releaseAll(job: Job, pods: readonly Pod[], signal: AbortSignal): Promise<void> {
    if (isFinished(job))
      for (const pod of pods)
        if (!isPodTerminal(pod) && !pod.metadata.deletionTimestamp) await deletePod(this.#context, job, pod, signal);
    await Promise.all(pods.map((pod) => this.#release(pod, signal)));
  }

  /** Nobody counts the pods of a Job that is gone; they could never go, were they held on. */
  async #releaseOrphans(key: string, job: Job | undefined, signal: AbortSignal): Promise<void> {
    const { name, namespace } = splitKey(key);
    const isOrphan = (pod: Pod): boolean => {
      const owner = controllerOf(pod);
      if (owner === undefined) return job === undefined && pod.metadata.labels?.[JOB_NAME] === name;
      return owner.kind === "Job" && owner.name === name && owner.uid !== job?.metadata.uid;
    };
    const pods = this.#context.informer(resources.pods).inNamespace(namespace);
    await Promise.all([...pods].filter(isOrphan).map((pod) => this.#release(pod, signal)));
  }

  async #release(pod: Pod, signal: AbortSignal): Promise<void> {
    if (!pod.metadata.finalizers?.includes(plan.FINALIZER)) return;
    const finalizers = pod.metadata.finalizers.filter((name) => name !== plan.FINALIZER);
    const { name, namespace, uid, resourceVersion } = pod.metadata;
    try {
      await this.#context.client
        .of(resources.pods)
        .patch({ name, namespace }, { metadata: { uid, resourceVersion, finalizers } }, { signal });
    } catch (error) {
      if (!hasCode(error, "notFound")) throw error;
    }
  }

  #next(
    job: Job,
    status: k8s.JobStatus,
    waitMs: number | undefined,
    nowMs: number,
  ): { requeueAfterMs: number } | undefined {
    const deadline = job.spec?.activeDeadlineSeconds;
    const leftMs =
      deadline !== undefined && status.startTime
        ? Math.max(1000, Date.parse(status.startTime) + deadline * 1000 - nowMs)
        : Number.POSITIVE_INFINITY;
    const nextMs = Math.min(
      waitMs ?? Number.POSITIVE_INFINITY,
      isFinished({ ...job, status }) ? Number.POSITIVE_INFINITY : leftMs,
    );
    return Number.isFinite(nextMs) ? { requeueAfterMs: nextMs } : undefined;
  }
}

function isFinished(job: k8s.Job): boolean {
  return (
    job.status?.conditions?.some(
      ({ type, status }) => (type === "Complete" || type === "Failed") && status === "True",
    ) ?? false
  );
}

/** Uids whose pods have been let go (or are gone) move from the uncounted list into the counters. */
function settleUncounted(job: Job, pods: readonly Pod[]): k8s.JobStatus {
  const held = new Set(
    pods.filter((pod) => pod.metadata.finalizers?.includes(plan.FINALIZER)).map((pod) => pod.metadata.uid),
  );
  const { succeeded = [], failed = [] } = job.status?.uncountedTerminatedPods ?? {};
  const stays = (uid: string) => held.has(uid);
  const status: k8s.JobStatus = { ...job.status };
  status.succeeded = (status.succeeded ?? 0) + succeeded.filter((uid) => !stays(uid)).length || undefined;
  status.failed = (status.failed ?? 0) + failed.filter((uid) => !stays(uid)).length || undefined;
  status.uncountedTerminatedPods = { succeeded: succeeded.filter(stays), failed: failed.filter(stays) };
  return status;
}

/** Takes newly finished pods into the status. `policyFailure` is the message of a FailJob rule that one of them matched; `uncountable` change nothing. */
function countFinished(
  job: Job,
  sorted: plan.Tally,
  status: k8s.JobStatus,
): { policyFailure: string | undefined; uncountable: Pod[] } {
  const uncountable: Pod[] = [];
  const uncounted = status.uncountedTerminatedPods!;
  const completed = plan.parseIndexes(status.completedIndexes);
  const failedIndexes = plan.parseIndexes(status.failedIndexes);
  let policyFailure: string | undefined;
  for (const pod of sorted.newSucceeded.slice(0, MAX_UNCOUNTED)) {
    const index = plan.indexOf(pod);
    if (plan.isIndexed(job)) {
      if (completed.has(index) || index >= (job.spec?.completions ?? 0)) {
        uncountable.push(pod);
        continue;
      }
      completed.add(index);
    }
    uncounted.succeeded = [...(uncounted.succeeded ?? []), pod.metadata.uid];
  }
  for (const pod of sorted.newFailed.slice(0, MAX_UNCOUNTED)) {
    const { action, message } = plan.failureAction(job, pod);
    if (action === "FailJob") policyFailure ??= message;
    if (action === "FailIndex" || isIndexExhausted(job, pod, action)) failedIndexes.add(plan.indexOf(pod));
    if (action === "Ignore") uncountable.push(pod);
    else uncounted.failed = [...(uncounted.failed ?? []), pod.metadata.uid];
  }
  if (plan.isIndexed(job)) status.completedIndexes = plan.formatIndexes(completed);
  if (job.spec?.backoffLimitPerIndex !== undefined) status.failedIndexes = plan.formatIndexes(failedIndexes);
  return { policyFailure, uncountable };
}

function failuresOf(pod: Pod): number {
  return Number(pod.metadata.annotations?.[plan.INDEX_FAILURES] ?? 0);
}

function isIndexExhausted(job: Job, pod: Pod, action: plan.FailureAction): boolean {
  const limit = job.spec?.backoffLimitPerIndex;
  return limit !== undefined && action === "Count" && failuresOf(pod) >= limit;
}
