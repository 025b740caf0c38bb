import type { UpgradeRoute } from "./route.ts";

const HEAD =
  "HTTP/1.1 101 UPGRADED\r\ncontent-type: application/vnd.berth.raw\r\nconnection: Upgrade\r\nupgrade: tcp\r\n\r\n";

/** The serial console, both ways; several may be connected at once and see the same. */
export const consoleRoute: UpgradeRoute = {
  path: "/vms/*/console",
  async connect({ machines, args, signal }, connection) {
    const stream = await machines.find(args[0]!).program.attach();
    connection.write(HEAD);
    stream.onData((_name, chunk) => {
      if (connection.write(chunk)) return;
      stream.pause();
      connection.once("drain", () => stream.resume());
    });
    connection.on("data", (chunk: Buffer) => void stream.write(chunk));
    const close = () => stream.close();
    signal.addEventListener("abort", close, { once: true });
    connection.once("end", close);
    await stream.ended;
    connection.end();
  },
};
