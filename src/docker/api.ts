import type { InstanceContext } from "../base/index.ts";
import type { Engine } from "../engine/index.ts";
import type { Route } from "./route.ts";
import { distributionRoutes } from "./routes/distribution.ts";
import { imageRoutes } from "./routes/images.ts";
import { networkRoutes } from "./routes/networks.ts";
import { absentRoutes } from "./routes/none.ts";
import { systemRoutes } from "./routes/system.ts";
import { volumeRoutes } from "./routes/volumes.ts";
import { createSystem } from "./system.ts";

export interface DockerApiContext extends InstanceContext {
  /** berth's own version. */
  readonly version: string;
}

/** Every endpoint, over the engine. */
export function createDockerApi(engine: Engine, context: DockerApiContext): Route[] {
  return [
    ...systemRoutes(createSystem(engine, context)),
    ...imageRoutes({ images: engine.images, clock: context.clock }),
    ...distributionRoutes(engine.images),
    ...networkRoutes(engine.networks, engine.containers, () => context.clock.nowMs()),
    ...volumeRoutes(engine.volumes),
    ...absentRoutes(),
  ];
}
