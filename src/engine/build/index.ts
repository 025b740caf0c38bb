export type * from "./types.ts";
export type * from "./worker/worker.ts";
export { createBuilder, type BuilderOptions } from "./builder.ts";
export { createEngineWorker, type EngineWorkerOptions } from "./worker/engine.ts";
export { ClassicProgress, PlainProgress } from "./progress/index.ts";
