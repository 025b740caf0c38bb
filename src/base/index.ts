export * from "./clock.ts";
export * from "./disposal.ts";
export * from "./errors.ts";
export * from "./limits.ts";
export * from "./log.ts";
export * from "./quantities.ts";
export * from "./queue.ts";
export * from "./random.ts";
