import { connect, createServer } from "node:net";
import type { BoundSocket } from "../../host/index.ts";

const MAX_CONNECTIONS = 1024;

/**
 * IPv6 clients of a container that has only IPv4, and clients on ::1: no rule of the kernel translates between the families, nor leads ::1 to another link,
 * so these connections (and only these) are copied by this process. Takes over the socket; returns how to close it.
 */
export function relayTcp(
  socket: BoundSocket,
  target: { readonly address: string; readonly port: number },
): BoundSocket {
  const server = createServer({ allowHalfOpen: true }, (client) => {
    const upstream = connect({ host: target.address, port: target.port, allowHalfOpen: true });
    const destroy = () => {
      client.destroy();
      upstream.destroy();
    };
    client.on("error", destroy);
    upstream.on("error", destroy);
    client.pipe(upstream);
    upstream.pipe(client);
    open.add(client);
    client.once("close", () => open.delete(client));
  });
  const open = new Set<{ destroy(): void }>();
  server.maxConnections = MAX_CONNECTIONS;
  server.on("error", () => {});
  server.listen({ fd: socket.fd });
  server.unref();
  const close = () => {
    server.close();
    for (const client of open) client.destroy();
  };
  return { fd: socket.fd, port: socket.port, close };
}
