import { openEngine, type Engine } from "../../engine/index.ts";
import type { DaemonContext } from "../context.ts";
import type { Service } from "../supervisor.ts";

export function engineService(context: DaemonContext): Service<Engine> {
  return {
    name: "engine",
    dependsOn: [],
    async start() {
      const engine = await openEngine({ ...context, log: context.log.with({ service: "engine" }) }, context.config);
      return { value: engine, stop: () => engine.close() };
    },
  };
}
