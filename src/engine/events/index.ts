export { MemoryEventBus } from "./bus.ts";
export type * from "./types.ts";
