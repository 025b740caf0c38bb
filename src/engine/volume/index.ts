export { openVolumes, type VolumeOptions } from "./service.ts";
export type * from "./types.ts";
