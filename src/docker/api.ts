import type { Engine } from "../engine/index.ts";
import type { DockerApiContext } from "./context.ts";
import type { Route } from "./route.ts";
import { berthRoutes } from "./routes/berth.ts";
import { buildRoutes } from "./routes/build.ts";
import { commitRoutes } from "./routes/commit.ts";
import { containerRoutes } from "./routes/containers.ts";
import { distributionRoutes } from "./routes/distribution.ts";
import { execRoutes } from "./routes/exec.ts";
import { imageTransferRoutes } from "./routes/image-transfer.ts";
import { imageRoutes } from "./routes/images.ts";
import { networkRoutes } from "./routes/networks.ts";
import { absentRoutes } from "./routes/none.ts";
import { systemRoutes } from "./routes/system.ts";
import { volumeRoutes } from "./routes/volumes.ts";
import { createSystem } from "./system.ts";

/** Every endpoint, over the engine. */
export function createDockerApi(engine: Engine, context: DockerApiContext): Route[] {
  const { builder, containers, images, networks, volumes } = engine;
  const { clock } = context;
  return [
    ...systemRoutes(createSystem(engine, context)),
    ...containerRoutes(containers),
    ...execRoutes(containers),
    ...imageTransferRoutes(images),
    ...imageRoutes({ images, clock }),
    ...commitRoutes({ images, containers }),
    ...distributionRoutes(images),
    ...buildRoutes({ builder, clock }),
    ...networkRoutes(networks, containers, () => clock.nowMs()),
    ...volumeRoutes(volumes),
    ...absentRoutes(),
    ...berthRoutes(images),
  ];
}
