import { PassThrough, Writable, type Duplex } from "node:stream";
import type { WebSocket } from "ws";
import type { cri } from "../../api/index.ts";
import { deadlineExceeded, internal, unavailable, type Clock } from "../../base/index.ts";
import { CHANNEL } from "../streaming/index.ts";

const PROTOCOLS = ["v5.channel.k8s.io", "v4.channel.k8s.io"];
const OPEN_TIMEOUT_MS = 30_000;

/** Opens the URL that a runtime's streaming server gave for Exec or Attach. */
export async function openSession(url: string, wants: cri.AttachRequest, clock: Clock): Promise<cri.ExecSession> {
  const stdout = new PassThrough();
  const stderr = wants.tty ? undefined : new PassThrough();
  const exit = Promise.withResolvers<number>();
  exit.promise.catch(() => {});
  const socket = await open(url, PROTOCOLS, clock, (from, message) => {
    const body = message.subarray(1);
    if (message[0] === CHANNEL.stdout) write(from, stdout, body);
    else if (message[0] === CHANNEL.stderr) write(from, stderr ?? stdout, body);
    else if (message[0] === CHANNEL.error && body.length > 0) settle(body.toString(), exit);
  });
  socket.once("close", () => {
    stdout.end();
    stderr?.end();
    exit.reject(unavailable("the runtime closed the connection without an exit code"));
  });
  const send = (channel: number, data: Uint8Array | string, callback?: (error?: Error) => void) =>
    socket.send(Buffer.concat([Buffer.from([channel]), Buffer.from(data)]), { binary: true }, callback);
  const stdin = wants.stdin
    ? new Writable({
        write: (chunk: Buffer, _encoding, callback) => send(CHANNEL.stdin, chunk, (error) => callback(error)),
        final: (callback) => {
          // Before v5 the end of input can't be said, and the process waits on.
          if (socket.protocol === PROTOCOLS[0])
            socket.send(Buffer.from([CHANNEL.close, CHANNEL.stdin]), { binary: true });
          callback();
        },
      }).on("error", () => {})
    : undefined;
  return {
    stdin,
    stdout: wants.stdout ? stdout : void stdout.resume(),
    stderr: wants.stderr ? stderr : void stderr?.resume(),
    exit: exit.promise,
    resize: async (columns, rows) => send(CHANNEL.resize, JSON.stringify({ Width: columns, Height: rows })),
    close: () => socket.close(),
  };
}

function write(socket: WebSocket, target: PassThrough, body: Buffer): void {
  if (target.writableEnded || target.write(body)) return;
  socket.pause();
  target.once("drain", () => socket.resume());
}

interface Status {
  readonly status?: string;
  readonly message?: string;
  readonly details?: { readonly causes?: ReadonlyArray<{ reason?: string; message?: string }> };
}

function settle(text: string, exit: PromiseWithResolvers<number>): void {
  try {
    const status = JSON.parse(text) as Status;
    const code = status.details?.causes?.find(({ reason }) => reason === "ExitCode")?.message;
    if (status.status === "Success") exit.resolve(0);
    else if (code !== undefined) exit.resolve(Number(code));
    else exit.reject(internal(status.message ?? text));
  } catch {
    exit.reject(internal(text));
  }
}

/** Opens the URL that a runtime's streaming server gave for PortForward of one port. What went wrong there is an error of the stream. */
export async function openPort(url: string, clock: Clock): Promise<Duplex> {
  const { Duplex: DuplexStream } = await import("node:stream");
  const named = new Set<number>();
  // Until the stream has a reader, who then hears of errors too.
  const early: Buffer[] = [];
  let take = (message: Buffer): void => void early.push(message);
  const socket = await open(url, ["v4.channel.k8s.io"], clock, (_, message) => take(message));
  const duplex: Duplex = new DuplexStream({
    read: () => {
      take = arrived;
      for (const message of early.splice(0)) arrived(message);
      socket.resume();
    },
    write: (chunk: Buffer, _encoding, callback) =>
      socket.send(Buffer.concat([Buffer.from([0]), chunk]), { binary: true }, (error) => callback(error)),
    destroy: (error, callback) => {
      socket.close();
      callback(error);
    },
  });
  const arrived = (message: Buffer): void => {
    const channel = message[0]!;
    // The first message of each channel is its port.
    if (!named.has(channel)) named.add(channel);
    else if (channel === 1) duplex.destroy(unavailable(message.subarray(1).toString()));
    else if (!duplex.push(message.subarray(1))) socket.pause();
  };
  socket.once("close", () => {
    for (const message of early.splice(0)) arrived(message);
    duplex.push(null);
  });
  return duplex;
}

/** `arrived` gets every message, also those that come right behind the handshake. */
async function open(
  url: string,
  protocols: readonly string[],
  clock: Clock,
  arrived: (socket: WebSocket, message: Buffer) => void,
): Promise<WebSocket> {
  const { WebSocket: Client } = await import("ws");
  const socket = new Client(url.replace(/^http/, "ws"), [...protocols], { perMessageDeflate: false });
  socket.on("message", (message: Buffer) => arrived(socket, message));
  const opened = new Promise<void>((resolve, reject) => {
    socket.once("open", () => resolve());
    socket.once("error", (cause) =>
      reject(unavailable(`the runtime's streaming server cannot be reached: ${cause.message}`, { cause })),
    );
  });
  const patience = new AbortController();
  const late = clock.sleep(OPEN_TIMEOUT_MS, patience.signal).then(
    () => Promise.reject(deadlineExceeded("the runtime's streaming server does not answer")),
    () => {},
  );
  await Promise.race([opened, late]).finally(() => patience.abort());
  socket.on("error", () => {});
  return socket;
}
