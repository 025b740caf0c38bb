import { chmodSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import path from "node:path";
import { BerthError, codeOf, messageOf, notFound, type ErrorCode } from "../../base/index.ts";
import { listenUnix } from "../listen.ts";
import type { Service, ServiceStatus } from "../supervisor.ts";
import type { DaemonContext } from "../context.ts";

const http = process.getBuiltinModule("node:http");

/** What `GET /status` on the control socket answers. */
export interface DaemonStatus {
  readonly instance: string;
  readonly pid: number;
  readonly version: string;
  readonly dataDir: string;
  readonly runtimeDir: string;
  readonly startedMs: number;
  readonly services: readonly ServiceStatus[];
}

/** The socket by which `berth status` and `berth down` speak to the daemon itself, apart from any service. Root only. */
export function controlService(
  context: DaemonContext,
  status: () => DaemonStatus,
  stop: (drain: boolean) => void,
): Service<void> {
  const socketPath = path.join(context.runtimeDir, "berth.sock");
  return {
    name: "control",
    dependsOn: [],
    async start() {
      const server = http.createServer((request, response) => {
        response.setHeader("content-type", "application/json");
        if (request.method === "GET" && request.url === "/status") return response.end(JSON.stringify(status()));
        if (request.method === "POST" && (request.url === "/stop" || request.url === "/stop?drain=1")) {
          response.end("{}");
          stop(request.url !== "/stop");
          return undefined;
        }
        return void answer(context, request, response);
      });
      await listenUnix(server, socketPath);
      chmodSync(socketPath, 0o600);
      return {
        value: undefined,
        stop: () => {
          server.close();
          server.closeIdleConnections();
        },
      };
    },
  };
}

const STATUS: Partial<Record<ErrorCode, number>> = {
  notFound: 404,
  invalidArgument: 400,
  failedPrecondition: 409,
  conflict: 409,
  resourceExhausted: 409,
};

/** What is not the daemon's own is asked of the service that has taken the first name of the path. */
async function answer(context: DaemonContext, request: IncomingMessage, response: ServerResponse) {
  const { pathname, searchParams: query } = new URL(request.url ?? "/", "http://berth");
  const [, name = "", ...path] = pathname.split("/").map(decodeURIComponent);
  try {
    const handler = context.control.get(name);
    if (!handler) throw notFound("page not found");
    response.end(JSON.stringify((await handler({ method: request.method ?? "GET", path, query })) ?? {}));
  } catch (error) {
    response.statusCode = STATUS[codeOf(error)] ?? 500;
    response.end(
      JSON.stringify({ message: messageOf(error), hint: error instanceof BerthError ? error.hint : undefined }),
    );
  }
}
