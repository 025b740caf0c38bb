import type { Duplex } from "node:stream";
import type { WebSocket } from "ws";
import { messageOf } from "../../base/index.ts";

/**
 * Port-forward in a WebSocket's channels: of the port with index i, `2i` carries data and `2i+1` says what went wrong. The first message of each channel is its
 * port, little-endian (k8s.io/kubelet/pkg/cri/streaming/portforward). One connection to each port, and no half-close.
 */
export async function serveChannels(
  socket: WebSocket,
  dial: (port: number) => Promise<Duplex>,
  ports: readonly number[],
): Promise<void> {
  const targets = new Map<number, Duplex>();
  const send = (channel: number, data: Buffer) => socket.send(Buffer.concat([Buffer.from([channel]), data]));
  socket.on("error", () => {});
  socket.on("message", (message: Buffer) => {
    const target = targets.get(message[0] ?? -1);
    if (target && !target.write(message.subarray(1))) {
      socket.pause();
      target.once("drain", () => socket.resume());
    }
  });
  // What comes before the ports are dialled waits.
  socket.pause();
  let undialled = ports.length;
  const dialled = () => {
    if (--undialled === 0) socket.resume();
  };
  socket.once("close", () => {
    for (const target of targets.values()) target.destroy();
  });
  await Promise.all(
    ports.map(async (port, index) => {
      const name = Buffer.alloc(2);
      name.writeUInt16LE(port);
      for (const channel of [2 * index, 2 * index + 1]) send(channel, name);
      try {
        const target = await dial(port);
        targets.set(2 * index, target);
        dialled();
        target.on("error", () => target.destroy());
        target.on("data", (chunk: Buffer) => send(2 * index, chunk));
        await new Promise<void>((resolve) => target.once("close", () => resolve()));
      } catch (error) {
        dialled();
        send(2 * index + 1, Buffer.from(messageOf(error)));
      }
    }),
  );
  socket.close(1000);
}
