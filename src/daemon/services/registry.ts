import http from "node:http";
import { invalidArgument, unavailable } from "../../base/index.ts";
import { RegistryServer, type Engine } from "../../engine/index.ts";
import type { DaemonContext } from "../context.ts";
import type { Service } from "../supervisor.ts";

/** berth's images served as an OCI registry, where the configuration names an address for it (`registry-listen`). */
export function registryService(context: DaemonContext, engine: Service<Engine>): Service<void> {
  return {
    name: "registry",
    dependsOn: [engine],
    async start(use) {
      const { content, images } = use(engine);
      const { registryListen, registryPullThrough } = context.config;
      const registry = await RegistryServer.open({ context, content, images, pullThrough: registryPullThrough });
      const server = http.createServer((request, response) => registry.handle(request, response));
      // Pushes of large layers last as long as they last.
      server.requestTimeout = 0;
      await listen(server, registryListen!);
      return {
        value: undefined,
        stop: async () => {
          server.close();
          server.closeAllConnections();
          await registry.close();
        },
      };
    },
  };
}

async function listen(server: http.Server, address: string): Promise<void> {
  const match = /^(?:\[(.+)\]|([^:]+)):(\d+)$/.exec(address);
  if (!match) throw invalidArgument(`configuration: "registry-listen" is not ADDRESS:PORT but "${address}"`);
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) => reject(unavailable(`the registry can't listen on ${address}`, { cause: error })));
    server.listen(Number(match[3]), match[1] ?? match[2], resolve);
  });
}
