export type * from "./meta.ts";
export type * from "./schema.ts";
export type * from "./transport.ts";
