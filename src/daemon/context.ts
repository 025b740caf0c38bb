import type { InstanceContext } from "../base/index.ts";
import type { DaemonConfig } from "./config.ts";

/** What every service is made from. */
export interface DaemonContext extends InstanceContext {
  readonly config: DaemonConfig;
  /** berth's own, from package.json. */
  readonly version: string;
}
