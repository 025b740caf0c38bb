import { chmod, rm } from "node:fs/promises";
import net from "node:net";
import type { cri } from "../../../api/index.ts";
import { messageOf, type Logger } from "../../../base/index.ts";
import type { CriStreaming } from "../types.ts";
import type { CriServer } from "./server.ts";

/**
 * The CRI socket. gRPC costs memory, and on most machines nobody asks: its code is loaded with the first connection.
 */
export async function listenCri(
  file: string,
  runtime: cri.RuntimeService,
  images: cri.ImageService,
  streaming: CriStreaming,
  log: Logger,
): Promise<{ close(): Promise<void> }> {
  await rm(file, { force: true });
  let loading: Promise<CriServer> | undefined;
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.once("close", () => sockets.delete(socket));
    loading ??= import("./server.ts").then(({ createCriServer }) => createCriServer(runtime, images, streaming));
    loading.then(
      (loaded) => loaded.serve(socket),
      (error: unknown) => {
        log.warn("the CRI socket cannot serve", { error: messageOf(error) });
        socket.destroy();
      },
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(file, resolve);
  });
  await chmod(file, 0o660);
  return {
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      (await loading?.catch(() => undefined))?.close();
      for (const socket of sockets) socket.destroy();
      await streaming.close();
      await closed;
    },
  };
}
