import type { Controller } from "./controller.ts";
import { deploymentController } from "./deployment/index.ts";
import { replicaSetController, replicationController } from "./replicaset/index.ts";

export type * from "./controller.ts";
export { controllerUser, runControllers, type ControllerManager, type ControllerManagerOptions } from "./manager.ts";

/** Everything that a cluster runs, in upstream's order of start. */
export const allControllers: readonly Controller[] = [
  deploymentController,
  replicaSetController,
  replicationController,
];
