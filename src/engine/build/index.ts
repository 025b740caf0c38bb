export type * from "./types.ts";
export { openBuilder, type OpenBuilderOptions } from "./open.ts";
export { ClassicProgress, PlainProgress, type StreamMessage } from "./progress/index.ts";
export { reclaimRuns } from "./worker/places.ts";
