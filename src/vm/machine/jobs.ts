import { deadlineExceeded, failedPrecondition, type Clock } from "../../base/index.ts";
import type { QmpClient } from "../qmp/index.ts";

const POLL_MS = 50;
const LIMIT_MS = 30 * 60_000;
let sequence = 0;

interface JobInfo {
  readonly id: string;
  readonly status: string;
  readonly error?: string;
}

/** Runs a command that works as a job in the background, to its end. Throws failedPrecondition with QEMU's words. */
export async function runJob(
  monitor: QmpClient,
  clock: Clock,
  command: string,
  args: Readonly<Record<string, unknown>>,
): Promise<void> {
  const id = `job${process.pid}-${++sequence}`;
  await monitor.execute(command, { "job-id": id, ...args });
  await finishJobs(monitor, clock, [id]);
}

/** Waits for jobs that do not dismiss themselves, and dismisses them. */
export async function finishJobs(monitor: QmpClient, clock: Clock, ids: readonly string[]): Promise<void> {
  const deadline = clock.monotonicMs() + LIMIT_MS;
  for (;;) {
    const jobs = (await monitor.execute<JobInfo[]>("query-jobs")).filter(({ id }) => ids.includes(id));
    if (jobs.every(({ status }) => status === "concluded")) {
      for (const { id } of jobs) await monitor.execute("job-dismiss", { id });
      const failed = jobs.find(({ error }) => error !== undefined);
      if (failed) throw failedPrecondition(`the machine refused: ${failed.error}`);
      return;
    }
    if (clock.monotonicMs() > deadline) throw deadlineExceeded("the machine did not finish in time");
    await clock.sleep(POLL_MS);
  }
}
