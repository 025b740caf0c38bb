import type { InstanceContext, Metrics } from "../base/index.ts";
import type { DaemonConfig } from "./config.ts";
import type { LogThreshold } from "./reload.ts";
import type { ControlHandler } from "./control-handler.ts";

/** What every service is made from. */
export interface DaemonContext extends InstanceContext {
  readonly config: DaemonConfig;
  /** What Prometheus is told. */
  readonly metrics: Metrics;
  readonly threshold: LogThreshold;
  /** berth's own, from package.json. */
  readonly version: string;
  /** What services answer on the control socket, by the first name of the path. */
  readonly control: Map<string, ControlHandler>;
}
