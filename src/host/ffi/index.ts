export * from "./libc.ts";
