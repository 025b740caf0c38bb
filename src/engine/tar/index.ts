export * from "./parser.ts";
export * from "./types.ts";
export * from "./writer.ts";
