import { readFile } from "node:fs/promises";
import type { Cluster } from "../../../apiserver/index.ts";
import { invalidArgument } from "../../../base/index.ts";
import type { InformerFactory } from "../../../client/index.ts";
import type { StageSettings } from "../../../node/simulated/index.ts";
import type { DaemonContext } from "../../context.ts";
import type { Service } from "../../supervisor.ts";

/** `berth up --simulated-nodes N`: nodes and Pods' lives without containers, so that rollouts and failures can be tried at size. */
export function simulatedNodesService(
  context: DaemonContext,
  api: Service<Cluster>,
  informers: Service<InformerFactory>,
): Service<void> {
  return {
    name: "simulated-nodes",
    dependsOn: [api, informers],
    async start(use) {
      const { simulateNodes, stagesFrom } = await import("../../../node/simulated/index.ts");
      const { simulatedNodes, simulatedStagesFile } = context.config;
      const settings = simulatedStagesFile ? await readSettings(simulatedStagesFile) : {};
      const stop = new AbortController();
      const client = use(api).client.as(
        { name: "system:berth:simulated-nodes", groups: ["system:masters", "system:authenticated"] },
        "berth-simulated-nodes",
      );
      const { ready, stopped } = simulateNodes(
        {
          ...context,
          client,
          informers: use(informers),
          count: simulatedNodes,
          stages: stagesFrom(settings),
          log: context.log.with({ service: "simulated-nodes" }),
        },
        stop.signal,
      );
      // Thousands take a while to register; the rest of the daemon is there meanwhile.
      ready.catch(() => {});
      stopped.catch((error: unknown) => context.log.error("the simulation of nodes has ended", { error }));
      return {
        value: undefined,
        stop: async () => {
          stop.abort();
          await stopped.catch(() => {});
        },
      };
    },
  };
}

async function readSettings(file: string): Promise<StageSettings> {
  try {
    return JSON.parse(await readFile(file, "utf8")) as StageSettings;
  } catch (error) {
    throw invalidArgument(`the stages of simulated Pods: ${file} can't be read as JSON`, { cause: error });
  }
}
