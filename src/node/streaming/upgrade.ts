import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import type { WebSocket } from "ws";
import { invalidArgument } from "../../base/index.ts";

/** A connection that its client asked to switch to another protocol. */
export interface Upgrade {
  readonly socket: Duplex;
  readonly head: Uint8Array;
  readonly url: string;
  readonly headers: Readonly<Record<string, string | undefined>>;
}

const MAX_MESSAGE_BYTES = 32 * 1024 * 1024;

/** Answers the handshake with the first of our protocols that the client offers too. */
export async function acceptWebSocket(upgrade: Upgrade, protocols: readonly string[]): Promise<WebSocket> {
  const { WebSocketServer } = await import("ws");
  const server = new WebSocketServer({
    noServer: true,
    maxPayload: MAX_MESSAGE_BYTES,
    perMessageDeflate: false,
    handleProtocols: (offered) => protocols.find((name) => offered.has(name)) ?? false,
  });
  const offered = (upgrade.headers["sec-websocket-protocol"] ?? "").split(",").map((name) => name.trim());
  if (offered[0] !== "" && !protocols.some((name) => offered.includes(name))) {
    throw invalidArgument(
      `unable to negotiate protocol: client supports [${offered.join(" ")}], server accepts [${protocols.join(" ")}]`,
    );
  }
  const request = { method: "GET", url: upgrade.url, headers: upgrade.headers } as unknown as IncomingMessage;
  return new Promise((resolve, reject) => {
    upgrade.socket.once("close", () => reject(invalidArgument("the client went away during the WebSocket handshake")));
    server.handleUpgrade(request, upgrade.socket, Buffer.from(upgrade.head), (socket) => resolve(socket));
  });
}
