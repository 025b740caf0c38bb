export type * from "./kubernetes/index.ts";
export type * as cri from "./cri/index.ts";
export type * from "./oci/index.ts";
