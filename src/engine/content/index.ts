export * from "./digest.ts";
export * from "./files.ts";
export { FileContentStore } from "./store.ts";
export type { FileUpload } from "./upload.ts";
export type * from "./types.ts";
