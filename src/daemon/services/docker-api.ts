import { readFileSync } from "node:fs";
import type { Server } from "node:net";
import path from "node:path";
import { invalidArgument } from "../../base/index.ts";
import {
  createDockerApi,
  createHandler,
  createServer,
  createTlsServer,
  type DockerHandler,
} from "../../docker/index.ts";
import type { Engine } from "../../engine/index.ts";
import type { DaemonContext } from "../context.ts";
import { listenUnix, shareWithGroup } from "../listen.ts";
import type { Service } from "../supervisor.ts";

/** The Docker Engine API on `docker.sock`, and over TCP where the configuration has certificates for it. */
export function dockerApiService(context: DaemonContext, engine: Service<Engine>): Service<DockerHandler> {
  return {
    name: "docker-api",
    dependsOn: [engine],
    async start(use) {
      const log = context.log.with({ service: "docker-api" });
      const handler = createHandler(createDockerApi(use(engine), context), log);
      const servers = [await listenOnSocket(handler, context), ...(await listenOnTcp(handler, context))];
      return { value: handler, stop: () => Promise.all(servers.map(closeServer)).then(() => {}) };
    },
  };
}

async function listenOnSocket(handler: DockerHandler, context: DaemonContext): Promise<Server> {
  const socketPath = path.join(context.runtimeDir, "docker.sock");
  const server = createServer(handler);
  await listenUnix(server, socketPath);
  shareWithGroup(socketPath, context.config.socketGroups);
  return server;
}

async function listenOnTcp(handler: DockerHandler, { config }: DaemonContext): Promise<Server[]> {
  const { tls } = config;
  if (!tls) return [];
  const options = { ca: readFileSync(tls.ca), cert: readFileSync(tls.cert), key: readFileSync(tls.key) };
  return Promise.all(
    config.tcpHosts.map(async (host) => {
      const address = /^tcp:\/\/(?:\[(.+)\]|([^:/]+)):(\d+)$/.exec(host);
      if (!address) throw invalidArgument(`configuration: "${host}" is not tcp://ADDRESS:PORT`);
      const server = createTlsServer(handler, options);
      await new Promise<void>((resolve, reject) => {
        server.once("error", reject);
        server.listen(Number(address[3]), address[1] ?? address[2], resolve);
      });
      return server;
    }),
  );
}

/** Stops accepting; attached sessions and followed logs are cut, since their clients would wait for ever. */
function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    (server as { closeAllConnections?: () => void }).closeAllConnections?.();
    resolve();
  });
}
