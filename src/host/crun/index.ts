export * from "./errors.ts";
export * from "./exec.ts";
export * from "./namespace.ts";
export * from "./start.ts";
