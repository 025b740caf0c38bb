export * from "./beneath.ts";
export * from "./fs-user.ts";
export * from "./idmap.ts";
export * from "./mount.ts";
export * from "./nodes.ts";
export * from "./overlay.ts";
export * from "./table.ts";
