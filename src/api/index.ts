export type * from "./kubernetes/index.ts";
export * from "./kubernetes/names.ts";
export type * as cri from "./cri/index.ts";
export { RUNTIME_PROTO } from "./cri/index.ts";
export { PLUGIN_PROTOS } from "./plugins/index.ts";
export type * as vm from "./vm/index.ts";
export * from "./oci/index.ts";
export type * from "./docker/index.ts";
