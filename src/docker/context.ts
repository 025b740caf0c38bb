import type { InstanceContext } from "../base/index.ts";

export interface DockerApiContext extends InstanceContext {
  /** berth's own version. */
  readonly version: string;
}
