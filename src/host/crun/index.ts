export * from "./errors.ts";
export * from "./namespace.ts";
export * from "./start.ts";
