export * from "./cgroup.ts";
export * from "./layout.ts";
export * from "./stats.ts";
export * from "./network.ts";
