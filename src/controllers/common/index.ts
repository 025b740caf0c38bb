export * from "./conditions.ts";
export * from "./expectations.ts";
export * from "./json.ts";
export * from "./owners.ts";
export * from "./podcontrol.ts";
export * from "./pods.ts";
