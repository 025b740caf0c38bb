import type { DaemonContext } from "../context.ts";
import type { Service } from "../supervisor.ts";
import { composeCluster } from "./cluster/index.ts";
import { dockerApiService } from "./docker-api.ts";
import { engineService } from "./engine.ts";
import { registryService } from "./registry.ts";
import { vmApiService } from "./vm-api.ts";

/** The one place where the daemon is put together: one file per service, each listed after those it depends on. */
export function composeServices(context: DaemonContext): Service[] {
  const { config } = context;
  if (!config.engine) return config.kubernetes ? composeCluster(context, undefined) : [];
  const engine = engineService(context);
  const dockerApi = dockerApiService(context, engine);
  const registry = config.registryListen ? [registryService(context, engine)] : [];
  const vms = vmApiService(context, engine);
  const cluster = config.kubernetes ? composeCluster(context, { engine, vms }) : [];
  return [engine, dockerApi, vms, ...registry, ...cluster];
}
