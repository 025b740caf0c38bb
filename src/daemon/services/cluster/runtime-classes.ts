import type { Cluster } from "../../../apiserver/index.ts";
import { hasCode } from "../../../base/index.ts";
import { resources } from "../../../client/index.ts";
import type { Engine } from "../../../engine/index.ts";
import type { Service } from "../../supervisor.ts";

/** A RuntimeClass for each way to isolate besides the default one, so that `runtimeClassName: vm` means something from the start. */
export function runtimeClassesService(api: Service<Cluster>, engine: Service<Engine>): Service<void> {
  return {
    name: "runtime-classes",
    dependsOn: [api, engine],
    async start(use) {
      const classes = use(api).client.of(resources.runtimeClasses);
      const handlers = [...use(engine).isolations.keys()].filter((name) => name !== "process");
      for (const handler of handlers) {
        await classes.create({ metadata: { name: handler }, handler }).catch((error: unknown) => {
          if (!hasCode(error, "alreadyExists")) throw error;
        });
      }
      return { value: undefined };
    },
  };
}
