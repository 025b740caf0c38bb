export * from "./api.ts";
export type * from "./context.ts";
export * from "./query.ts";
export * from "./route.ts";
export * from "./server.ts";
export * from "./version.ts";
