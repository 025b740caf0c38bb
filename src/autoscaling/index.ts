export { apiMetrics } from "./api-metrics.ts";
export { Autoscaler, type AutoscalerOptions } from "./controller.ts";
export type * from "./metrics.ts";
