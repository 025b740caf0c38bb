export * from "./qmp/index.ts";
