import type { Clock, Logger } from "../../base/index.ts";
import type { ClusterState } from "../cluster-state.ts";
import type { ApiServer } from "../machinery/options.ts";

export interface CustomResourceOptions {
  readonly state: ClusterState;
  readonly server: ApiServer;
  readonly clock: Clock;
  readonly log: Logger;
  readonly signal: AbortSignal;
}

export async function serveCustomResources(_options: CustomResourceOptions): Promise<void> {
  await Promise.resolve();
}
