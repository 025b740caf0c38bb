export * from "./exact-fs.ts";
