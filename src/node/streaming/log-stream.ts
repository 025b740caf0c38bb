import { acceptWebSocket, type Upgrade } from "./upgrade.ts";

const BASE64 = "base64.binary.k8s.io";
const PROTOCOLS = ["binary.k8s.io", BASE64];

/**
 * A log over WebSocket, each piece a message: binary, or text in base64 for clients that asked for that. `read` gets told when the client is
 * gone.
 */
export function serveLog(upgrade: Upgrade, read: (signal: AbortSignal) => AsyncIterable<Uint8Array>): void {
  void run(upgrade, read).catch(() => upgrade.socket.destroy());
}

async function run(upgrade: Upgrade, read: (signal: AbortSignal) => AsyncIterable<Uint8Array>): Promise<void> {
  const socket = await acceptWebSocket(upgrade, PROTOCOLS);
  const gone = new AbortController();
  socket.once("close", () => gone.abort());
  socket.on("error", () => socket.terminate());
  const inText = socket.protocol === BASE64;
  for await (const chunk of read(gone.signal)) {
    if (gone.signal.aborted) break;
    const message = inText ? Buffer.from(chunk).toString("base64") : chunk;
    await new Promise<void>((resolve) => socket.send(message, () => resolve()));
  }
  socket.close();
}
