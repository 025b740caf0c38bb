export * from "./engine.ts";
export type * from "./events/index.ts";
