export type * from "./store.ts";
export { openMemoryStore } from "./memory/memory-store.ts";
export { SortedMap } from "./embedded/sorted-map.ts";
