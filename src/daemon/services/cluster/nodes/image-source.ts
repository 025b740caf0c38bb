import { readFile, writeFile } from "node:fs/promises";
import https from "node:https";
import path from "node:path";
import type { Cluster } from "../../../../apiserver/index.ts";
import { unavailable } from "../../../../base/index.ts";
import type { DaemonContext } from "../../../context.ts";
import type { OpenRegistry } from "../../registry.ts";
import { openOnFreePort } from "../api-server.ts";

/**
 * The images of this machine for nodes that have an engine of their own: the registry, for reading alone, to who has a certificate of the cluster's. Its port is
 * that of last time, since nodes outlive the daemon.
 */
export class ImageSource {
  readonly #context: DaemonContext;
  readonly #registry: OpenRegistry;
  readonly #certificates: Cluster["certificates"];
  readonly #address: string;
  #opened: Promise<https.Server> | undefined;

  constructor(context: DaemonContext, registry: OpenRegistry, certificates: Cluster["certificates"], address: string) {
    this.#context = context;
    this.#registry = registry;
    this.#certificates = certificates;
    this.#address = address;
  }

  /** https://ADDRESS:PORT. Idempotent. */
  async open(): Promise<string> {
    this.#opened ??= this.#listen();
    this.#opened.catch(() => (this.#opened = undefined));
    const { port } = (await this.#opened).address() as { port: number };
    return `https://${this.#address}:${port}`;
  }

  async #listen(): Promise<https.Server> {
    const registry = await this.#registry.open();
    const { server: own, authority } = this.#certificates;
    const tls = { ...own, ca: authority.pair.cert, requestCert: true, rejectUnauthorized: true };
    const file = path.join(this.#context.dataDir, "cluster", "registry-port");
    const last = Number(await readFile(file, "utf8").catch(() => "0"));
    const open = (port: number) =>
      new Promise<https.Server>((resolve, reject) => {
        const server = https.createServer(tls, (request, response) => {
          if (request.method === "GET" || request.method === "HEAD") return registry.handle(request, response);
          response.writeHead(405).end();
        });
        server.once("error", (cause) => reject(unavailable("the nodes' registry cannot listen", { cause })));
        server.listen(port, this.#address, () => resolve(server));
      });
    const server = await openOnFreePort(open, last, this.#context.log);
    await writeFile(file, `${(server.address() as { port: number }).port}\n`);
    return server;
  }

  async close(): Promise<void> {
    const server = await this.#opened?.catch(() => undefined);
    server?.close();
    server?.closeAllConnections();
  }
}
