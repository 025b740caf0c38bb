export type * from "./kubernetes/index.ts";
