import type { Server } from "node:http";
import { invalidArgument, unavailable } from "../../base/index.ts";
import { RegistryServer, type Engine } from "../../engine/index.ts";
import type { DaemonContext } from "../context.ts";
import type { Service } from "../supervisor.ts";

const http = process.getBuiltinModule("node:http");

/** berth's images as an OCI registry, opened when first asked for. */
export interface OpenRegistry {
  open(): Promise<RegistryServer>;
}

/** The registry, and where the configuration names an address for it (`registry-listen`) its port. */
export function registryService(context: DaemonContext, engine: Service<Engine>): Service<OpenRegistry> {
  return {
    name: "registry",
    dependsOn: [engine],
    async start(use) {
      const { content, images } = use(engine);
      const { registryListen, registryPullThrough } = context.config;
      let opened: Promise<RegistryServer> | undefined;
      const open = () => {
        opened ??= RegistryServer.open({ context, content, images, pullThrough: registryPullThrough });
        return opened;
      };
      const server = registryListen === undefined ? undefined : await serve(await open(), registryListen);
      return {
        value: { open },
        stop: async () => {
          server?.close();
          server?.closeAllConnections();
          await (await opened)?.close();
        },
      };
    },
  };
}

async function serve(registry: RegistryServer, address: string): Promise<Server> {
  const match = /^(?:\[(.+)\]|([^:]+)):(\d+)$/.exec(address);
  if (!match) throw invalidArgument(`configuration: "registry-listen" is not ADDRESS:PORT but "${address}"`);
  const server = http.createServer((request, response) => registry.handle(request, response));
  // Pushes of large layers last as long as they last.
  server.requestTimeout = 0;
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) => reject(unavailable(`the registry can't listen on ${address}`, { cause: error })));
    server.listen(Number(match[3]), match[1] ?? match[2], resolve);
  });
  return server;
}
