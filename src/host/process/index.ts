export * from "./spawn.ts";
export * from "./confine.ts";
