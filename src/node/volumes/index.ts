export { defaultStorageClass, LOCAL_PROVISIONER } from "./storage-class.ts";
export { localVolumesController, type LocalVolumesOptions } from "./local-volumes.ts";
