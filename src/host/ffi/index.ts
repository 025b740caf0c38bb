export * from "./bind.ts";
export * from "./libc.ts";
