export * from "./tap.ts";
