import type { Cluster } from "../../../apiserver/index.ts";
import { hasCode } from "../../../base/index.ts";
import { resources, type InformerFactory } from "../../../client/index.ts";
import { defaultStorageClass, installSnapshots, localContents, localVolumesController } from "../../../node/index.ts";
import type { DaemonContext } from "../../context.ts";
import type { Service, Started } from "../../supervisor.ts";
import type { Roster } from "./nodes/roster.ts";
import type { ClusterSettings } from "./settings.ts";
import { startControllers } from "./start-controllers.ts";

/** The default StorageClass and the provisioner behind it; later, snapshots of its volumes. */
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
      const contents = localContents(context.dataDir);
      // Directories of this machine are no directories of a node elsewhere.
      const isLocalNode = (name: string) => {
        const entry = roster.find(name);
        return entry !== undefined && !entry.elsewhere;
      };
      const common = {
        ...context,
        client,
        log: context.log.with({ service: "local-volumes" }),
        informers: use(informers),
      };
      const { nodeName } = settings;
      const volumes = await startControllers({
        ...common,
        controllers: [
          localVolumesController({
            client,
            nodeName,
            isLocalNode,
            contents: contents.volumes,
            snapshots: contents.snapshots,
          }),
        ],
      });
      const stop = new AbortController();
      const later = installSnapshots(common, client, contents, stop.signal).then(
        async (controller): Promise<Started<void> | undefined> =>
          controller && !stop.signal.aborted ? startControllers({ ...common, controllers: [controller] }) : undefined,
      );
      return {
        value: undefined,
        stop: async () => {
          stop.abort();
          await Promise.all([volumes.stop?.(), later.then((started) => started?.stop?.())]);
        },
      };
    },
  };
}
