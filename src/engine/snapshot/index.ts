export { chainIdOf, chainIdsOf } from "./chain.ts";
export { GrowingFile, readGrowing, type Growing } from "./layer/growing.ts";
export { openUnpacked } from "./layer/unpacked.ts";
export { OverlaySnapshotStore } from "./store.ts";
export type * from "./types.ts";
