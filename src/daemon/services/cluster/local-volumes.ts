import path from "node:path";
import type { Cluster } from "../../../apiserver/index.ts";
import { hasCode } from "../../../base/index.ts";
import { resources, type InformerFactory } from "../../../client/index.ts";
import { defaultStorageClass, localVolumesController } from "../../../node/index.ts";
import type { DaemonContext } from "../../context.ts";
import type { Service } from "../../supervisor.ts";
import type { Roster } from "./nodes/roster.ts";
import type { ClusterSettings } from "./settings.ts";
import { startControllers } from "./start-controllers.ts";

/** The default StorageClass and the provisioner behind it. */
export function localVolumesService(
  context: DaemonContext,
  api: Service<Cluster>,
  informers: Service<InformerFactory>,
  settings: ClusterSettings,
  roster: Roster,
): Service<void> {
  return {
    name: "local-volumes",
    dependsOn: [api, informers],
    async start(use) {
      const { client } = use(api);
      await client
        .of(resources.storageClasses)
        .create(defaultStorageClass())
        .catch((error: unknown) => {
          if (!hasCode(error, "alreadyExists")) throw error;
        });
      const root = path.join(context.dataDir, "local-volumes");
      const isLocalNode = (name: string) => roster.find(name) !== undefined;
      return startControllers({
        ...context,
        client,
        log: context.log.with({ service: "local-volumes" }),
        informers: use(informers),
        controllers: [localVolumesController({ client, nodeName: settings.nodeName, isLocalNode, root })],
      });
    },
  };
}
