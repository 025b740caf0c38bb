export type * from "./kubernetes/index.ts";
export type * as cri from "./cri/index.ts";
export * from "./oci/index.ts";
export type * from "./docker/index.ts";
