import { readFile, rename, writeFile } from "node:fs/promises";
import net from "node:net";
import path from "node:path";
import type { Cluster, Endpoint } from "../../../apiserver/index.ts";
import type { Logger } from "../../../base/index.ts";
import type { Store } from "../../../storage/index.ts";
import type { DaemonContext } from "../../context.ts";
import type { Service } from "../../supervisor.ts";
import { apiServerOptions, auditBackends } from "./api-server-flags.ts";
import type { ClusterSettings } from "./settings.ts";

const PREFERRED_PORT = 6443;

/** The Kubernetes API on loopback, and the administrator's kubeconfig (0600) in the runtime directory. */
export function apiServerService(
  context: DaemonContext,
  store: Service<Store>,
  settings: ClusterSettings,
  endpoints: () => readonly Endpoint[],
): Service<Cluster> {
  return {
    name: "api-server",
    dependsOn: [store],
    async start(use) {
      const { openAudit, openCluster } = await import("../../../apiserver/index.ts");
      const log = context.log.with({ service: "api-server" });
      const flags = context.config.apiServer ?? {};
      const chosen = apiServerOptions(flags);
      const auditing = await openAudit(auditBackends(flags, log), { clock: context.clock, log });
      const folder = path.join(context.dataDir, "cluster");
      const portFile = path.join(folder, "port");
      const open = (port: number) =>
        openCluster({
          ...chosen,
          audit: auditing?.audit,
          store: use(store),
          clock: context.clock,
          random: context.random,
          metrics: context.metrics,
          log,
          folder: path.join(folder, "pki"),
          serverNames: [settings.gateway],
          advertiseAddress: settings.gateway,
          services: { cidr: settings.serviceCidr, nodePorts: settings.nodePorts },
          port,
          endpoints: endpoints(),
        });
      const api = await openOnFreePort(open, await rememberedPort(portFile), log);
      await writeFile(portFile, `${api.listener.port}\n`);
      await writePrivate(path.join(context.runtimeDir, "kubeconfig"), api.kubeconfig(settings.nodeName));
      const stop = async () => {
        await api.close();
        await auditing?.close();
      };
      return { value: api, stop };
    },
  };
}

/** The API on the node's address of the Pod range: what the `kubernetes` Service leads to. */
export function apiForPodsService(
  api: Service<Cluster>,
  network: Service<unknown>,
  settings: ClusterSettings,
): Service<void> {
  return {
    name: "api-for-pods",
    dependsOn: [api, network],
    async start(use) {
      const { server, listener, certificates } = use(api);
      const { cert, key } = certificates.server;
      const tls = { cert, key, clientCa: certificates.authority.pair.cert };
      const forPods = await server.listen({ host: settings.gateway, port: listener.port, tls });
      return { value: undefined, stop: () => forPods.close() };
    },
  };
}

/** A kubeconfig that somebody copied should stay true: the port of last time is taken again where it is free. */
async function rememberedPort(file: string): Promise<number> {
  const text = await readFile(file, "utf8").catch(() => "");
  return Number(text) || PREFERRED_PORT;
}

/** Between the question and the opening another daemon may have taken the port: then any other will do. */
export async function openOnFreePort<T>(
  open: (port: number) => Promise<T>,
  preferred: number,
  log: Logger,
): Promise<T> {
  const port = await freePort(preferred, log);
  try {
    return await open(port);
  } catch (error) {
    const code = ((error as Error).cause as NodeJS.ErrnoException | undefined)?.code;
    if (port === 0 || code !== "EADDRINUSE") throw error;
    log.info("a port was taken in this moment; another one is used", { port });
    return open(0);
  }
}

/** Asked before the cluster is opened, so that a port in use does not cost opening it twice. */
async function freePort(preferred: number, log: Logger): Promise<number> {
  if (await isFree(preferred)) return preferred;
  log.info("a port is taken by somebody else; another one is used", { port: preferred });
  return 0;
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = net.createServer();
    probe.once("error", () => resolve(false));
    probe.listen(port, "127.0.0.1", () => probe.close(() => resolve(true)));
  });
}

/** Whole or not at all, 0600. */
export async function writePrivate(file: string, text: string): Promise<void> {
  await writeFile(`${file}.new`, text, { mode: 0o600 });
  await rename(`${file}.new`, file);
}
