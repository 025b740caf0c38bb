import { chmod, mkdir, rm } from "node:fs/promises";
import net from "node:net";
import path from "node:path";
import { messageOf, type Logger } from "../../base/index.ts";

/** Who speaks a protocol on connections that somebody else accepted. */
export interface ConnectionServer {
  serve(socket: net.Socket): void;
  close(): void;
}

const SOCKET_MODE = 0o660;

/**
 * A socket of this machine whose server is loaded with the first connection: gRPC costs memory and start-up time, and on most machines nobody asks. What
 * stood at the path before is removed.
 */
export async function listenLazily(
  file: string,
  load: () => Promise<ConnectionServer>,
  log: Logger,
): Promise<{ close(): Promise<void> }> {
  await mkdir(path.dirname(file), { recursive: true, mode: 0o755 });
  await rm(file, { force: true });
  let loading: Promise<ConnectionServer> | undefined;
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.once("close", () => sockets.delete(socket));
    loading ??= load();
    loading.then(
      (loaded) => loaded.serve(socket),
      (error: unknown) => {
        log.warn("a socket cannot be served", { socket: file, error: messageOf(error) });
        socket.destroy();
      },
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(file, resolve);
  });
  await chmod(file, SOCKET_MODE);
  return {
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      (await loading?.catch(() => undefined))?.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
