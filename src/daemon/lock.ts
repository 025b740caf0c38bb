import { createHash } from "node:crypto";
import net from "node:net";
import { alreadyExists, internal } from "../base/index.ts";

/**
 * At most one daemon per data directory: whoever holds the abstract unix socket named after it. The kernel lets go of it with the process,
 * however that ends, so there is nothing stale to clean up.
 */
export async function acquireLock(dataDir: string): Promise<Disposable> {
  const name = `\0berth-lock-${createHash("sha256").update(dataDir).digest("hex").slice(0, 24)}`;
  const server = net.createServer((socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      reject(
        error.code === "EADDRINUSE"
          ? alreadyExists(`a berth daemon already runs on ${dataDir}`, { hint: "berth status" })
          : internal(`cannot lock ${dataDir}`, { cause: error }),
      );
    });
    server.listen({ path: name }, resolve);
  });
  server.unref();
  return { [Symbol.dispose]: () => void server.close() };
}
