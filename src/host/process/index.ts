export * from "./spawn.ts";
