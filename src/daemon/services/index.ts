import type { DaemonContext } from "../context.ts";
import type { Service } from "../supervisor.ts";
import { dockerApiService } from "./docker-api.ts";
import { engineService } from "./engine.ts";
import { registryService } from "./registry.ts";
import { vmApiService } from "./vm-api.ts";

/**
 * The one place where the daemon is put together: one file per service, each listed after those it depends on. What this daemon doesn't run
 * is not even loaded: a cluster is three quarters of the sources.
 */
export async function composeServices(context: DaemonContext): Promise<Service[]> {
  const { config } = context;
  if (config.joinFile !== undefined) return composeNode(context, config.joinFile);
  const cluster = config.kubernetes ? await import("./cluster/index.ts") : undefined;
  if (!config.engine) return cluster?.composeCluster(context, undefined) ?? [];
  const engine = engineService(context);
  const dockerApi = dockerApiService(context, engine);
  const registry = registryService(context, engine);
  const vms = vmApiService(context, engine);
  return [engine, dockerApi, vms, registry, ...(cluster?.composeCluster(context, { engine, vms, registry }) ?? [])];
}

/** A node of another berth's cluster. */
async function composeNode(context: DaemonContext, joinFile: string): Promise<Service[]> {
  const [{ composeJoined }, { readJoinFile }] = await Promise.all([import("./joined/index.ts"), import("../join.ts")]);
  return composeJoined(context, readJoinFile(joinFile));
}
