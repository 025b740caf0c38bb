import type { Duplex } from "node:stream";
import { messageOf } from "../../base/index.ts";
import { serveChannels } from "./port-channels.ts";
import { SpdyConnection, type SpdyStream } from "./spdy/connection.ts";
import { acceptWebSocket, type Upgrade } from "./upgrade.ts";

const PROTOCOL = "portforward.k8s.io";
/** kubectl's newer form: the same SPDY bytes inside a WebSocket. */
const TUNNEL_PROTOCOL = `SPDY/3.1+${PROTOCOL}`;
/** The older form inside a WebSocket, for ports named beforehand: a channel each for data and errors, one connection to each port. */
const CHANNEL_PROTOCOL = "v4.channel.k8s.io";
/** Half-open pairs, whose second stream has not come yet. */
const MAX_HALF_PAIRS = 100;

export type Dial = (port: number) => Promise<Duplex>;

/** kubectl port-forward: for each connection a pair of SPDY streams, `data` and `error`, joined by their requestID. */
export function servePortForward(upgrade: Upgrade, dial: Dial, ports: readonly number[] = []): void {
  const offered = (upgrade.headers["sec-websocket-protocol"] ?? "").split(",").map((name) => name.trim());
  const served =
    ports.length > 0 && offered.includes(CHANNEL_PROTOCOL)
      ? acceptWebSocket(upgrade, [CHANNEL_PROTOCOL]).then((socket) => serveChannels(socket, dial, ports))
      : accept(upgrade).then(({ socket, head }) => serve(socket, head, dial));
  void served.catch(() => upgrade.socket.destroy());
}

async function accept(upgrade: Upgrade): Promise<{ socket: Duplex; head: Uint8Array }> {
  if ((upgrade.headers["upgrade"] ?? "").toLowerCase() === "websocket") {
    const { createWebSocketStream } = await import("ws");
    const webSocket = await acceptWebSocket(upgrade, [TUNNEL_PROTOCOL]);
    return { socket: createWebSocketStream(webSocket), head: Buffer.alloc(0) };
  }
  upgrade.socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: ${PROTOCOL}\r\n\r\n`,
  );
  return { socket: upgrade.socket, head: upgrade.head };
}

function serve(socket: Duplex, head: Uint8Array, dial: Dial): void {
  const pairs = new Map<string, { data?: SpdyStream; error?: SpdyStream }>();
  const connection = new SpdyConnection(socket, head, (stream) => {
    const id = stream.headers.get("requestid") ?? "";
    const pair = pairs.get(id) ?? {};
    pairs.set(id, pair);
    if (stream.headers.get("streamtype") === "error") pair.error = stream;
    else pair.data = stream;
    if (pair.data && pair.error) {
      pairs.delete(id);
      void join(pair.data, pair.error, Number(stream.headers.get("port")), dial);
    } else if (pairs.size > MAX_HALF_PAIRS) connection.close();
  });
}

async function join(data: SpdyStream, error: SpdyStream, port: number, dial: Dial): Promise<void> {
  error.resume();
  try {
    const target = await dial(port);
    target.on("error", () => data.destroy());
    data.on("error", () => target.destroy());
    data.pipe(target);
    target.pipe(data);
    await new Promise<void>((resolve) => target.once("close", () => resolve()));
    error.end();
  } catch (cause) {
    error.end(messageOf(cause));
    data.end();
  }
}
