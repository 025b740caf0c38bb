export type * from "./types.ts";
export type * from "./config.ts";
