export type * from "./build.ts";
export type * from "./containers.ts";
