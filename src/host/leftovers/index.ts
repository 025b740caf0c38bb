export * from "./leftovers.ts";
