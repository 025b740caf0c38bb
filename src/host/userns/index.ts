export * from "./userns.ts";
