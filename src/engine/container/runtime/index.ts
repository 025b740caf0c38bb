export { Core, type CoreOptions } from "./core.ts";
export { ProcessIsolation } from "./isolation.ts";
export { readFacts, writeFacts } from "./facts.ts";
export { createRunOnce } from "./run-once.ts";
export type * from "./types.ts";
