import type { GroupKinds } from "../shared/peculiarities.ts";
import { cronJob } from "./cronjob.ts";
import { job } from "./job.ts";

export const batchKinds: GroupKinds = { cronjobs: cronJob, jobs: job };
