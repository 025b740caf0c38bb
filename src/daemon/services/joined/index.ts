import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { DaemonContext } from "../../context.ts";
import type { JoinFile } from "../../join.ts";
import type { Service } from "../../supervisor.ts";
import { criService } from "../cluster/node.ts";
import { dockerApiService } from "../docker-api.ts";
import { engineService } from "../engine.ts";
import { connectionService } from "./connection.ts";
import { joinedKubeletService } from "./kubelet.ts";
import { joinedNetworkService } from "./network.ts";

/** This berth as a node of another one's cluster, and nothing else (docs/adr/0165). */
export function composeJoined(daemon: DaemonContext, join: JoinFile): Service[] {
  const context = withImagesOf(daemon, join);
  const engine = engineService(context);
  const connection = connectionService(context, join);
  const network = joinedNetworkService(context, connection, join);
  const cri = criService(context, engine, network);
  return [
    engine,
    dockerApiService(context, engine),
    connection,
    network,
    cri,
    joinedKubeletService(context, { engine, connection, network, cri }, join),
  ];
}

/** Images are looked for on the cluster's machine first: what was built there is there for Pods here. */
function withImagesOf(context: DaemonContext, { registry, authority, kubelet }: JoinFile): DaemonContext {
  const certsDir = path.join(context.dataDir, "registry-certs");
  const folder = path.join(certsDir, new URL(registry).host);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const files = { "ca.crt": authority, "client.cert": kubelet.cert, "client.key": kubelet.key };
  for (const [name, text] of Object.entries(files)) writeFileSync(path.join(folder, name), text, { mode: 0o600 });
  const registryMirrors = [registry, ...context.config.registryMirrors];
  return { ...context, config: { ...context.config, registryMirrors, certsDir } };
}
