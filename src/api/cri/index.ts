export type * from "./images.ts";
export type * from "./runtime.ts";
