export * from "./argv.ts";
export * from "./attach.ts";
export * from "./monitor.ts";
