export * from "./distribution.ts";
export * from "./image.ts";
export * from "./media.ts";
export * from "./paths.ts";
export type * from "./runtime.ts";
