/** Every kind that v1.34 serves by default, names and types only: `k8s.Pod`, `k8s.DeploymentSpec`, … */
export type * as k8s from "./generated/types.generated.ts";
export type * from "./meta.ts";
export type * from "./schema.ts";
export type * from "./transport.ts";
