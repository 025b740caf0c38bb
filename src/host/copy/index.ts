export * from "./copy.ts";
