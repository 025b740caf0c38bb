export * from "./ffi/index.ts";
export * from "./mount/index.ts";
