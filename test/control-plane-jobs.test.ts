/** What Jobs and CronJobs are told and say, with scheduler and simulated nodes over the real API server. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import type { k8s } from "../src/api/index.ts";
import { draft, resources } from "../src/client/index.ts";
import { openControlPlane } from "./support/control-plane.ts";

const { client, run, close } = await openControlPlane({ seed: 12 });
after(close);
const namespace = "default";
const jobs = client.of(resources.jobs);
const FAILS = { "simulated.berth.dev/exit-code": "3" };

const specOf = (name: string, spec: Partial<k8s.JobSpec>, annotations: Record<string, string> = {}): k8s.JobSpec => ({
  template: {
    metadata: { labels: { app: name }, annotations },
    spec: { restartPolicy: "Never", containers: [{ name: "main", image: "v1" }] },
  },
  ...spec,
});
const create = (name: string, spec: Partial<k8s.JobSpec>, annotations?: Record<string, string>) =>
  jobs.create({ metadata: { name, namespace }, spec: specOf(name, spec, annotations) });
const statusOf = async (name: string) => (await jobs.get({ name, namespace })).status ?? {};
const conditions = async (name: string) =>
  (await statusOf(name)).conditions?.map(({ type, status, reason }) => `${type} ${status} ${reason}`);
const podsOf = async (app: string) =>
  (await client.of(resources.pods).list({ namespace, labelSelector: `app=${app}` })).items;

test("each index may fail so often, and the others go on", async () => {
  const spec = { completions: 2, parallelism: 2, completionMode: "Indexed", backoffLimitPerIndex: 1 };
  await create("per-index", spec, FAILS);
  await run(90_000);
  const status = await statusOf("per-index");
  assert.equal(status.failedIndexes, "0,1");
  assert.equal(status.failed, 4);
  assert.deepEqual(await conditions("per-index"), ["FailureTarget True FailedIndexes", "Failed True FailedIndexes"]);
});

test("a failure policy ends the Job, or one index of it, at once", async () => {
  const onExitCodes = { operator: "In", values: [3] };
  await create("ends", { podFailurePolicy: { rules: [{ action: "FailJob", onExitCodes }] } }, FAILS);
  const index = { completions: 2, parallelism: 2, completionMode: "Indexed", backoffLimitPerIndex: 6 };
  await create("index", { ...index, podFailurePolicy: { rules: [{ action: "FailIndex", onExitCodes }] } }, FAILS);
  await run(20_000);
  assert.deepEqual(await conditions("ends"), ["FailureTarget True PodFailurePolicy", "Failed True PodFailurePolicy"]);
  assert.equal((await statusOf("ends")).failed, 1);
  assert.equal((await statusOf("index")).failedIndexes, "0,1");
  assert.equal((await statusOf("index")).failed, 2);
});

test("a success policy is content with the index that matters", async () => {
  const successPolicy = { rules: [{ succeededIndexes: "0" }] };
  await create("leader", { completions: 3, parallelism: 1, completionMode: "Indexed", successPolicy });
  await run(20_000);
  assert.deepEqual(await conditions("leader"), [
    "SuccessCriteriaMet True SuccessPolicy",
    "Complete True SuccessPolicy",
  ]);
  assert.equal((await statusOf("leader")).completedIndexes, "0");
});

test("a suspended Job has no pods and no start, and goes on when it is resumed", async () => {
  await create("paused", { suspend: true });
  await run(3000);
  assert.deepEqual(await podsOf("paused"), []);
  assert.deepEqual(await conditions("paused"), ["Suspended True JobSuspended"]);
  assert.equal((await statusOf("paused")).startTime, undefined);
  const job = draft(await jobs.get({ name: "paused", namespace }));
  job.spec!.suspend = false;
  await jobs.update(job);
  await run(15_000);
  assert.deepEqual(await conditions("paused"), [
    "Suspended False JobResumed",
    "SuccessCriteriaMet True CompletionsReached",
    "Complete True CompletionsReached",
  ]);
});

test("a Job that somebody else manages is left alone", async () => {
  await create("theirs", { managedBy: "example.com/queue" });
  await run(3000);
  assert.deepEqual(await podsOf("theirs"), []);
  assert.equal((await statusOf("theirs")).startTime, undefined);
});

test("what a CronJob does when the last Job still runs", async () => {
  const running = { "simulated.berth.dev/run-seconds": "100" };
  for (const policy of ["Allow", "Forbid", "Replace"] as const)
    await client.of(resources.cronJobs).create({
      metadata: { name: policy.toLowerCase(), namespace },
      spec: {
        schedule: "* * * * *",
        concurrencyPolicy: policy,
        jobTemplate: { spec: specOf(policy.toLowerCase(), {}, running) },
      },
    });
  await run(150_000);
  const started = async (name: string) =>
    (await jobs.list({ namespace })).items.filter(({ metadata }) => metadata.name.startsWith(`${name}-`));
  const active = async (name: string) => (await started(name)).filter(({ status }) => status?.active).length;
  assert.equal(await active("allow"), 2);
  assert.equal(await active("forbid"), 1);
  assert.equal(await active("replace"), 1);
  const ages = await Promise.all(["forbid", "replace"].map(async (name) => (await started(name))[0]!.metadata.name));
  const minuteOf = (name: string) => Number(name.split("-").at(-1));
  assert.ok(minuteOf(ages[1]!) > minuteOf(ages[0]!), "Replace runs a later Job than Forbid");
});

test("a Job that is deleted lets its running Pods go", async () => {
  await create("gone", { completions: 1 }, { "simulated.berth.dev/run-seconds": "3600" });
  await run(3000);
  assert.equal((await podsOf("gone")).length, 1);
  await jobs.delete({ name: "gone", namespace }, { propagationPolicy: "Background" });
  await run(60_000);
  assert.deepEqual(await podsOf("gone"), []);
});

test("a schedule that never comes is told of", async () => {
  const jobTemplate = { spec: specOf("never", {}) };
  const spec: k8s.CronJobSpec = { schedule: "59 23 31 2 *", jobTemplate };
  await client.of(resources.cronJobs).create({ metadata: { name: "never", namespace }, spec });
  await run(2000);
  const events = (await client.of(resources.events).list({ namespace })).items;
  assert.match(events.find(({ reason }) => reason === "InvalidSchedule")?.note ?? "", /^invalid schedule: 59 23 31 2 /);
});
