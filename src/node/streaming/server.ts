import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { cri } from "../../api/index.ts";
import {
  invalidArgument,
  randomHex,
  resourceExhausted,
  type Clock,
  type Random,
  type Timer,
} from "../../base/index.ts";
import type { CriStreaming } from "../../engine/index.ts";
import { servePortForward } from "./port-forward.ts";
import { serveRemoteCommand } from "./remote-command.ts";
import type { Upgrade } from "./upgrade.ts";

const http = process.getBuiltinModule("node:http");

export interface StreamingServerOptions {
  readonly runtime: Pick<cri.RuntimeService, "exec" | "attach" | "portForward">;
  readonly clock: Clock;
  readonly random: Random;
}

/** As upstream's request cache: an URL is good once, and for a minute. */
const URL_LIFE_MS = 60_000;
const MAX_URLS = 1_000;
const TOKEN_BYTES = 16;

type Serve = (upgrade: Upgrade) => void;

/**
 * The streaming server of the CRI: Exec, Attach and PortForward answer a URL on this machine's loopback, and who opens it speaks SPDY or WebSocket as with
 * a kubelet. It listens from the first such call on.
 */
export class StreamingServer implements CriStreaming {
  readonly #options: StreamingServerOptions;
  readonly #pending = new Map<string, { serve: Serve; timer: Timer }>();
  #server: Promise<Server> | undefined;

  constructor(options: StreamingServerOptions) {
    this.#options = options;
  }

  exec(containerId: string, request: cri.ExecRequest): Promise<string> {
    checkStreams(request);
    const { runtime, clock } = this.#options;
    const start = () => runtime.exec(containerId, request);
    return this.#offer("exec", (upgrade) => serveRemoteCommand(upgrade, { ...request, start }, clock));
  }

  attach(containerId: string, request: cri.AttachRequest): Promise<string> {
    checkStreams(request);
    const { runtime, clock } = this.#options;
    const start = () => runtime.attach(containerId, request);
    return this.#offer("attach", (upgrade) => serveRemoteCommand(upgrade, { ...request, start }, clock));
  }

  portForward(podSandboxId: string, ports: readonly number[]): Promise<string> {
    const dial = (port: number) => this.#options.runtime.portForward(podSandboxId, port);
    return this.#offer("portforward", (upgrade) => servePortForward(upgrade, dial, ports));
  }

  async close(): Promise<void> {
    for (const { timer } of this.#pending.values()) timer.cancel();
    this.#pending.clear();
    const server = await this.#server?.catch(() => undefined);
    server?.close();
    server?.closeAllConnections();
  }

  async #offer(kind: string, serve: Serve): Promise<string> {
    if (this.#pending.size >= MAX_URLS) throw resourceExhausted("too many streaming URLs that nobody has opened");
    this.#server ??= this.#listen();
    const { port } = (await this.#server).address() as AddressInfo;
    const token = randomHex(this.#options.random, TOKEN_BYTES);
    const timer = this.#options.clock.after(URL_LIFE_MS, () => this.#pending.delete(token));
    this.#pending.set(token, { serve, timer });
    return `http://127.0.0.1:${port}/${kind}/${token}`;
  }

  async #listen(): Promise<Server> {
    const server = http.createServer((_request, response) => {
      response.statusCode = 404;
      response.end("page not found\n");
    });
    server.on("upgrade", (request, socket, head) => {
      socket.on("error", () => {});
      const token = request.url?.split("?")[0]?.split("/")[2] ?? "";
      const offered = this.#pending.get(token);
      if (!offered) return void socket.end("HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
      this.#pending.delete(token);
      offered.timer.cancel();
      offered.serve({
        socket,
        head,
        url: request.url!,
        headers: request.headers as Record<string, string | undefined>,
      });
      return undefined;
    });
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(0, "127.0.0.1", resolve);
    });
    server.unref();
    return server;
  }
}

/** A terminal has one output. */
function checkStreams(request: cri.AttachRequest): void {
  if (request.tty && request.stderr) throw invalidArgument("tty and stderr cannot both be true");
  if (!request.stdin && !request.stdout && !request.stderr)
    throw invalidArgument("one of stdin, stdout, or stderr must be set");
}
