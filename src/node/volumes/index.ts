export { defaultStorageClass } from "./storage-class.ts";
export { localVolumesController, type LocalVolumesOptions } from "./local-volumes.ts";
