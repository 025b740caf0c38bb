export { Scheduler, type SchedulerOptions } from "./scheduler.ts";
export { type Profile } from "./profile.ts";
