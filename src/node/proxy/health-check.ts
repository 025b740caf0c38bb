import type { Server } from "node:http";
import type { Logger } from "../../base/index.ts";
import type { SocketHost } from "../../host/index.ts";

const { createServer } = process.getBuiltinModule("node:http");

export interface HealthCheck {
  readonly port: number;
  readonly namespace: string;
  readonly name: string;
  /** Ready endpoints on this node. */
  readonly localEndpoints: number;
}

const BACKLOG = 16;

/**
 * The health-check node ports of LoadBalancer Services with `externalTrafficPolicy: Local`: 200 while the node has endpoints of the Service, 503 otherwise
 * (https://kubernetes.io/docs/reference/networking/virtual-ips/#external-traffic-policy).
 */
export class HealthChecks {
  readonly #sockets: SocketHost;
  readonly #log: Logger;
  readonly #servers = new Map<number, Server>();
  readonly #checks = new Map<string, HealthCheck>();

  constructor(sockets: SocketHost, log: Logger) {
    this.#sockets = sockets;
    this.#log = log;
  }

  /** What a Service wants now; undefined: nothing any more. */
  set(service: string, check: HealthCheck | undefined): void {
    const before = this.#checks.get(service);
    if (check) this.#checks.set(service, check);
    else this.#checks.delete(service);
    if (before && before.port !== check?.port) this.#stop(before.port);
    if (check && !this.#servers.has(check.port)) this.#start(service, check.port);
  }

  close(): void {
    for (const port of this.#servers.keys()) this.#stop(port);
  }

  #start(service: string, port: number): void {
    const server = createServer((_, response) => {
      const check = this.#checks.get(service);
      const localEndpoints = check?.localEndpoints ?? 0;
      response.writeHead(localEndpoints > 0 ? 200 : 503, {
        "content-type": "application/json",
        "x-content-type-options": "nosniff",
        "x-load-balancing-endpoint-weight": String(localEndpoints),
      });
      const { namespace, name } = check ?? {};
      response.end(JSON.stringify({ service: { namespace, name }, localEndpoints, serviceProxyHealthy: true }));
    });
    server.on("error", (error) => this.#log.warn("a health-check node port does not answer", { service, port, error }));
    try {
      const { fd } = this.#sockets.bind({ protocol: "tcp", address: "0.0.0.0", port, backlog: BACKLOG });
      server.listen({ fd });
      server.unref();
      this.#servers.set(port, server);
    } catch (error) {
      this.#log.warn("a health-check node port cannot be had", { service, port, error });
    }
  }

  #stop(port: number): void {
    const server = this.#servers.get(port);
    server?.close();
    server?.closeAllConnections();
    this.#servers.delete(port);
  }
}
