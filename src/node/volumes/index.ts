export { defaultStorageClass } from "./storage-class.ts";
export { localVolumesController, type LocalVolumesOptions } from "./local-volumes.ts";
export { installSnapshots, localContents, type LocalContents } from "./start.ts";
