export type * from "./runtime/types.ts";
