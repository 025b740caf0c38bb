export type * from "./build.ts";
export type * from "./containers.ts";
export type * from "./networks.ts";
export type * from "./volumes.ts";
