import type { k8s } from "../../api/index.ts";
import { hasCode, messageOf, rfc3339 } from "../../base/index.ts";
import { isNamespaceTerminating, keyOf, referenceTo, resources, type Stored } from "../../client/index.ts";
import { controlledBy, controllerOf, indexByController, ownerReference, sameJson } from "../common/index.ts";
import type { Controller, ControllerContext } from "../controller.ts";
import { missedSince, parseSchedule, type Schedule } from "./schedule.ts";

type CronJob = Stored<k8s.CronJob>;
type Job = Stored<k8s.Job>;

const TOO_MANY_MISSED = 100;

/** https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ */
export const cronJobController: Controller = {
  name: "cronjob-controller",
  setup(context) {
    const cronJobs = context.informer(resources.cronJobs);
    const jobs = context.informer(resources.jobs);
    indexByController(jobs);
    const enqueue = (cronJob: CronJob) => context.enqueue(keyOf(cronJob));
    cronJobs.onChange({ added: enqueue, updated: enqueue });
    const ofJob = (job: Job) => {
      const owner = controllerOf(job);
      if (owner?.kind === "CronJob") context.enqueue(`${job.metadata.namespace}/${owner.name}`);
    };
    jobs.onChange({ added: ofJob, updated: ofJob, deleted: ofJob });
    return {
      async reconcile(key, signal) {
        const cronJob = cronJobs.get(key);
        if (!cronJob || cronJob.metadata.deletionTimestamp) return;
        const owned = controlledBy(jobs, cronJob);
        const status = observe(context, cronJob, owned);
        const wait = await start(context, cronJob, owned, status, signal);
        if (!sameJson(status, cronJob.status ?? {})) {
          await context.client.of(resources.cronJobs).updateStatus({ ...cronJob, status }, { signal });
        }
        await trimHistory(context, cronJob, owned, signal);
        return wait;
      },
    };
  },
};

function finishedAs(job: k8s.Job): "Complete" | "Failed" | undefined {
  return job.status?.conditions?.find(
    ({ type, status }) => (type === "Complete" || type === "Failed") && status === "True",
  )?.type as "Complete" | "Failed" | undefined;
}

/** The status as the jobs there are make it. */
function observe(context: ControllerContext, cronJob: CronJob, jobs: readonly Job[]): k8s.CronJobStatus {
  const status: k8s.CronJobStatus = { ...cronJob.status };
  const live = new Map(jobs.map((job) => [job.metadata.uid, job]));
  const active: k8s.ObjectReference[] = [];
  for (const reference of cronJob.status?.active ?? []) {
    const job = live.get(reference.uid ?? "");
    const outcome = job && finishedAs(job);
    if (!job) context.events.event(cronJob, "Normal", "MissingJob", `Active job went missing: ${reference.name}`);
    else if (outcome) {
      context.events.event(
        cronJob,
        "Normal",
        "SawCompletedJob",
        `Saw completed job: ${job.metadata.name}, condition: ${outcome}`,
      );
      const done = job.status?.completionTime;
      if (outcome === "Complete" && done && (!status.lastSuccessfulTime || status.lastSuccessfulTime < done))
        status.lastSuccessfulTime = done;
    } else active.push(reference);
  }
  status.active = active.length > 0 ? active : undefined;
  return status;
}

function scheduleOf(context: ControllerContext, cronJob: CronJob): Schedule | undefined {
  try {
    return parseSchedule(cronJob.spec!.schedule, cronJob.spec!.timeZone);
  } catch (error) {
    const reason =
      cronJob.spec!.timeZone && messageOf(error).startsWith("unknown time zone")
        ? "UnknownTimeZone"
        : "UnparseableSchedule";
    context.events.event(
      cronJob,
      "Warning",
      reason,
      `unparseable schedule: "${cronJob.spec!.schedule}" : ${messageOf(error)}`,
    );
    return undefined;
  }
}

/** Starts the job that is due, if the policy allows. Returns when the next is. */
async function start(
  context: ControllerContext,
  cronJob: CronJob,
  jobs: readonly Job[],
  status: k8s.CronJobStatus,
  signal: AbortSignal,
): Promise<{ requeueAfterMs: number } | undefined> {
  const spec = cronJob.spec!;
  const schedule = spec.suspend ? undefined : scheduleOf(context, cronJob);
  if (!schedule) return undefined;
  const nowMs = context.clock.nowMs();
  const sinceMs = Date.parse(status.lastScheduleTime ?? cronJob.metadata.creationTimestamp ?? "");
  const deadlineMs = spec.startingDeadlineSeconds === undefined ? undefined : spec.startingDeadlineSeconds * 1000;
  const earliestMs = deadlineMs === undefined ? sinceMs : Math.max(sinceMs, nowMs - deadlineMs);
  const { latestMs, count } = missedSince(schedule, earliestMs, nowMs);
  const nextMs = schedule.next(nowMs);
  if (nextMs === undefined && latestMs === undefined) {
    const never = `invalid schedule: ${spec.schedule} : time difference between two schedules is less than 1 second`;
    context.events.event(cronJob, "Warning", "InvalidSchedule", never);
    return undefined;
  }
  const wait = nextMs === undefined ? undefined : { requeueAfterMs: Math.max(1, nextMs - nowMs + 100) };
  if (latestMs === undefined) return wait;
  if (count > TOO_MANY_MISSED) {
    const message = `too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew`;
    context.events.event(cronJob, "Warning", "TooManyMissedTimes", message);
  }
  if (deadlineMs !== undefined && latestMs + deadlineMs < nowMs) {
    context.events.event(
      cronJob,
      "Warning",
      "MissSchedule",
      `Missed scheduled time to start a job: ${rfc3339(latestMs)}`,
    );
    return wait;
  }
  if (status.active?.length && spec.concurrencyPolicy === "Forbid") {
    context.events.event(
      cronJob,
      "Normal",
      "JobAlreadyActive",
      "Not starting job because prior execution is running and concurrency policy is Forbid",
    );
    return wait;
  }
  if (spec.concurrencyPolicy === "Replace") await replaceActive(context, cronJob, jobs, status, signal);
  await create(context, cronJob, latestMs, status, signal);
  return wait;
}

async function replaceActive(
  context: ControllerContext,
  cronJob: CronJob,
  jobs: readonly Job[],
  status: k8s.CronJobStatus,
  signal: AbortSignal,
): Promise<void> {
  for (const reference of status.active ?? []) {
    const job = jobs.find(({ metadata }) => metadata.uid === reference.uid);
    if (job) await remove(context, cronJob, job, signal);
  }
  status.active = undefined;
}

async function create(
  context: ControllerContext,
  cronJob: CronJob,
  scheduledMs: number,
  status: k8s.CronJobStatus,
  signal: AbortSignal,
): Promise<void> {
  const { jobTemplate } = cronJob.spec!;
  const name = `${cronJob.metadata.name}-${Math.floor(scheduledMs / 60_000)}`;
  const annotations = {
    ...jobTemplate.metadata?.annotations,
    "batch.kubernetes.io/cronjob-scheduled-timestamp": rfc3339(scheduledMs),
  };
  const metadata = {
    name,
    namespace: cronJob.metadata.namespace,
    labels: jobTemplate.metadata?.labels,
    annotations,
    ownerReferences: [ownerReference(cronJob, resources.cronJobs)],
  };
  const jobs = context.client.of(resources.jobs);
  let job: Job;
  try {
    job = await jobs.create({ apiVersion: "batch/v1", kind: "Job", metadata, spec: jobTemplate.spec }, { signal });
    context.events.event(cronJob, "Normal", "SuccessfulCreate", `Created job ${name}`);
  } catch (error) {
    if (isNamespaceTerminating(error)) return;
    if (!hasCode(error, "alreadyExists")) {
      context.events.event(cronJob, "Warning", "FailedCreate", `Error creating job: ${messageOf(error)}`);
      throw error;
    }
    // The name says which run it is: started already, and the cache or our status is behind.
    job = await jobs.get(metadata, { signal });
    if (controllerOf(job)?.uid !== cronJob.metadata.uid) return;
  }
  status.lastScheduleTime = rfc3339(scheduledMs);
  if (!finishedAs(job) && !status.active?.some(({ uid }) => uid === job.metadata.uid)) {
    status.active = [...(status.active ?? []), referenceTo({ ...job, apiVersion: "batch/v1", kind: "Job" })];
  }
}

async function remove(context: ControllerContext, cronJob: CronJob, job: Job, signal: AbortSignal): Promise<void> {
  try {
    await context.client.of(resources.jobs).delete(job.metadata, { propagationPolicy: "Background", signal });
    context.events.event(cronJob, "Normal", "SuccessfulDelete", `Deleted job ${job.metadata.name}`);
  } catch (error) {
    if (!hasCode(error, "notFound")) throw error;
  }
}

async function trimHistory(
  context: ControllerContext,
  cronJob: CronJob,
  jobs: readonly Job[],
  signal: AbortSignal,
): Promise<void> {
  const { successfulJobsHistoryLimit = 3, failedJobsHistoryLimit = 1 } = cronJob.spec!;
  for (const [outcome, limit] of [
    ["Complete", successfulJobsHistoryLimit],
    ["Failed", failedJobsHistoryLimit],
  ] as const) {
    const done = jobs.filter((job) => finishedAs(job) === outcome && !job.metadata.deletionTimestamp);
    const begun = (job: Job) => job.status?.startTime ?? job.metadata.creationTimestamp ?? "";
    const oldest = done
      .sort((left, right) => (begun(left) < begun(right) ? -1 : 1))
      .slice(0, Math.max(0, done.length - limit));
    for (const job of oldest) await remove(context, cronJob, job, signal);
  }
}
