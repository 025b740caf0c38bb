export type { DaemonContext } from "./context.ts";
export type { Service, ServiceStatus, Started, Use } from "./supervisor.ts";
