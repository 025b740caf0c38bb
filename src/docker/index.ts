export * from "./query.ts";
export * from "./route.ts";
