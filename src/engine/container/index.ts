export * from "./runtime/index.ts";
export { baseSpec, type BaseSpec } from "./spec/defaults.ts";
export { deviceNumbers, devicesAt, hostDevices } from "./spec/devices.ts";
export { boundingSet, effectiveCapabilities } from "./spec/capabilities.ts";
export { resolveUser, type ResolvedUser } from "./spec/user.ts";
export { resolveInRoot } from "./paths.ts";
export * from "./docker/index.ts";
export { mappedRoot, readIdMappings, type IdMappings } from "./spec/id-mappings.ts";
