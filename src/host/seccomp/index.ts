export * from "./compile.ts";
export * from "./profile.ts";
