export * from "./client.ts";
export * from "./informer.ts";
export * from "./resource.ts";
export * from "./selectors.ts";
export * from "./status.ts";
export * from "./workqueue.ts";
