export { chainIdsOf } from "./chain.ts";
export { imageAttributes, setImageAttributes } from "./layer/attributes.ts";
export { externalDecompressor, type ExternalDecompressor } from "./layer/external.ts";
export { GrowingFile, readGrowing, type Growing } from "./layer/growing.ts";
export { openUnpacked, withoutRarePacking } from "./layer/unpacked.ts";
export { OverlaySnapshotStore } from "./store.ts";
export type * from "./types.ts";
