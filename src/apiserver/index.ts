export type * from "./machinery/kind.ts";
export type * from "./machinery/pipeline.ts";
export type * from "./machinery/options.ts";
export { createApiServer } from "./machinery/server.ts";
export { builtinKinds } from "./resources/index.ts";
export * from "./cluster.ts";
export { durationMs } from "./authz/configuration.ts";
export { createAudit, type AuditLevel, type AuditOptions, type AuditRule } from "./machinery/audit.ts";
export { type FairnessOptions } from "./machinery/fairness/fairness.ts";
