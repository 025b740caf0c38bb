import { openEngine, type Engine } from "../../engine/index.ts";
import type { DaemonContext } from "../context.ts";
import type { Service } from "../supervisor.ts";
import { reload } from "../reload.ts";
import { vmIsolation } from "./vm.ts";
import { machineSandboxes } from "./vm-api.ts";

export function engineService(context: DaemonContext): Service<Engine> {
  return {
    name: "engine",
    dependsOn: [],
    async start() {
      const engineContext = { ...context, log: context.log.with({ service: "engine" }) };
      const { docker, ...config } = context.config;
      const engine = await openEngine(engineContext, {
        ...config,
        ...docker,
        isolations: [vmIsolation(engineContext)],
        claimedSandboxes: () => machineSandboxes(context),
      });
      const onHangUp = () => reload(engine, context);
      process.on("SIGHUP", onHangUp);
      return {
        value: engine,
        async stop() {
          process.off("SIGHUP", onHangUp);
          await engine.close();
        },
      };
    },
  };
}
