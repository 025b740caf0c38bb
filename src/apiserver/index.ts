export type * from "./machinery/kind.ts";
export type * from "./machinery/pipeline.ts";
export type * from "./machinery/options.ts";
export { createApiServer } from "./machinery/server.ts";
export { builtinKinds } from "./resources/index.ts";
export * from "./cluster.ts";
