export { Scheduler, type SchedulerOptions } from "./scheduler.ts";
export { defaultProfile, type Profile } from "./profile.ts";
export { nodePredicate } from "./plugins/node-affinity.ts";
export { tolerates } from "./plugins/node-basics.ts";
