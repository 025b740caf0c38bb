export * from "./runtime/index.ts";
export { baseSpec, defaultMounts, DEFAULT_DEVICE_RULES, type BaseSpec } from "./spec/defaults.ts";
export { ALL_CAPABILITIES, boundingSet, DEFAULT_CAPABILITIES, effectiveCapabilities } from "./spec/capabilities.ts";
export { lookUpUser, resolveUser, type ResolvedUser } from "./spec/user.ts";
export { resolveInRoot } from "./paths.ts";
export * from "./docker/index.ts";
export { mappedRoot, readIdMappings, type IdMappings } from "./spec/id-mappings.ts";
