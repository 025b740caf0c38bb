import type { Duplex, Readable, Writable } from "node:stream";
import type { cri } from "../../api/index.ts";
import { messageOf, type Clock } from "../../base/index.ts";
import { CHANNEL } from "./channels.ts";
import { SpdyConnection, type SpdyStream } from "./spdy/connection.ts";
import { acceptWebSocket, type Upgrade } from "./upgrade.ts";

/**
 * exec and attach as kubectl speaks them: SPDY with one stream per channel, or a WebSocket whose messages begin with a channel's number
 * (`v5.channel.k8s.io` and its forerunners; k8s.io/apimachinery/pkg/util/remotecommand).
 */
export interface RemoteCommand {
  readonly tty: boolean;
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  /** Starts the process, or attaches to it. */
  start(): Promise<cri.ExecSession>;
}

const SPDY_PROTOCOLS = ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];
const WEBSOCKET_PROTOCOLS = [
  "v5.channel.k8s.io",
  "v4.channel.k8s.io",
  "v4.base64.channel.k8s.io",
  "channel.k8s.io",
  "base64.channel.k8s.io",
];
/** How long a client has to open the streams it asked for. */
const STREAMS_TIMEOUT_MS = 30_000;
/** WebSocket output waits when the client has this much still to take. */
const MAX_BUFFERED_BYTES = 1024 * 1024;

interface Channels {
  readonly stdin: Readable | undefined;
  readonly stdout: Writable | undefined;
  readonly stderr: Writable | undefined;
  onResize(listener: (columns: number, rows: number) => void): void;
  /** The client is gone. */
  readonly closed: Promise<void>;
  finish(status: object): Promise<void>;
}

export function serveRemoteCommand(upgrade: Upgrade, command: RemoteCommand, clock: Clock): void {
  void run(upgrade, command, clock).catch(() => upgrade.socket.destroy());
}

async function run(upgrade: Upgrade, command: RemoteCommand, clock: Clock): Promise<void> {
  const isSpdy = (upgrade.headers["upgrade"] ?? "").toLowerCase().startsWith("spdy");
  const channels = isSpdy ? await spdyChannels(upgrade, command, clock) : await webSocketChannels(upgrade, command);
  let session: cri.ExecSession;
  try {
    session = await command.start();
  } catch (error) {
    await channels.finish(failure("InternalError", messageOf(error), 500));
    return;
  }
  void channels.closed.then(() => session.close());
  channels.onResize((columns, rows) => void session.resize(columns, rows).catch(() => {}));
  if (session.stdin && channels.stdin) channels.stdin.pipe(session.stdin);
  session.stdin?.on("error", () => {});
  const outputs = [forward(session.stdout, channels.stdout), forward(session.stderr, channels.stderr)];
  try {
    const code = await session.exit;
    await Promise.all(outputs);
    await channels.finish(exitStatus(code));
  } catch (error) {
    await channels.finish(failure("InternalError", messageOf(error), 500));
  }
}

/** Resolves when all of the output has been handed over. */
function forward(from: Readable | undefined, to: Writable | undefined): Promise<void> {
  if (!from) return Promise.resolve();
  if (!to) from.resume();
  else from.pipe(to, { end: false });
  return new Promise((resolve) => {
    from.once("end", resolve);
    from.once("close", resolve);
    from.once("error", () => resolve());
    to?.once("close", resolve);
  });
}

function exitStatus(code: number): object {
  if (code === 0) return { metadata: {}, status: "Success" };
  return {
    ...failure(
      "NonZeroExitCode",
      `command terminated with non-zero exit code: error executing command, exit code ${code}`,
    ),
    details: { causes: [{ reason: "ExitCode", message: String(code) }] },
  };
}

function failure(reason: string, message: string, code?: number): object {
  return { metadata: {}, status: "Failure", reason, message, ...(code ? { code } : {}) };
}

async function spdyChannels(upgrade: Upgrade, command: RemoteCommand, clock: Clock): Promise<Channels> {
  const asked = (upgrade.headers["x-stream-protocol-version"] ?? "").split(",").map((name) => name.trim());
  const protocol = SPDY_PROTOCOLS.find((name) => asked.includes(name));
  if (!protocol) {
    refuse(
      upgrade.socket,
      403,
      `unable to negotiate protocol: client supports [${asked.join(" ")}], server accepts [${SPDY_PROTOCOLS.join(" ")}]`,
    );
    throw new Error("no common protocol");
  }
  upgrade.socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: ${protocol}\r\n\r\n`,
  );
  const resizable = command.tty && !["v2.channel.k8s.io", "channel.k8s.io"].includes(protocol);
  const wanted = [
    "error",
    ...(command.stdin ? ["stdin"] : []),
    ...(command.stdout ? ["stdout"] : []),
    ...(command.stderr && !command.tty ? ["stderr"] : []),
    ...(resizable ? ["resize"] : []),
  ];
  const streams = new Map<string, SpdyStream>();
  const complete = Promise.withResolvers<void>();
  const connection = new SpdyConnection(upgrade.socket, upgrade.head, (stream) => {
    streams.set(stream.headers.get("streamtype") ?? "", stream);
    if (wanted.every((name) => streams.has(name))) complete.resolve();
  });
  const timer = clock.after(STREAMS_TIMEOUT_MS, () =>
    complete.reject(new Error("the client did not open its streams")),
  );
  void connection.closed.then(() => complete.reject(new Error("the client went away")));
  await complete.promise.finally(() => timer.cancel());
  return {
    stdin: streams.get("stdin"),
    stdout: streams.get("stdout"),
    stderr: streams.get("stderr"),
    closed: connection.closed,
    onResize: (listener) => {
      const stream = streams.get("resize");
      if (stream) followSizes(stream, listener);
    },
    finish: async (status) => {
      // Before v4 the error stream carries plain text, and nothing when all went well.
      const text =
        protocol === "v4.channel.k8s.io" ? JSON.stringify(status) : ((status as { message?: string }).message ?? "");
      streams.get("error")!.end(text);
      streams.get("stdout")?.end();
      streams.get("stderr")?.end();
      await connection.end();
    },
  };
}

/** The client sends `{"Width":80,"Height":24}`, one after the other. */
function followSizes(stream: Readable, listener: (columns: number, rows: number) => void): void {
  let text = "";
  stream.on("data", (chunk: Buffer) => {
    text = (text + chunk.toString()).slice(-4096);
    for (let match = /\{[^{}]*\}/.exec(text); match; match = /\{[^{}]*\}/.exec(text)) {
      text = text.slice(match.index + match[0].length);
      tellSize(match[0], listener);
    }
  });
}

function tellSize(json: string, listener: (columns: number, rows: number) => void): void {
  try {
    const { Width, Height } = JSON.parse(json) as { Width?: number; Height?: number };
    if (Width && Height) listener(Width, Height);
  } catch {
    // A size that can't be read leaves the terminal as it is.
  }
}

async function webSocketChannels(upgrade: Upgrade, command: RemoteCommand): Promise<Channels> {
  const { PassThrough, Writable } = await import("node:stream");
  const socket = await acceptWebSocket(upgrade, WEBSOCKET_PROTOCOLS);
  const base64 = socket.protocol.includes("base64");
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  socket.on("error", () => {});
  const stdin = new PassThrough();
  // The first size comes with the connection, before the process is there to be told.
  let size: [columns: number, rows: number] | undefined;
  let resize: (columns: number, rows: number) => void = (...first) => (size = first);
  socket.on("message", (data: Buffer, isBinary: boolean) => {
    const message =
      base64 && !isBinary
        ? Buffer.concat([Buffer.from([(data[0] ?? 48) - 48]), Buffer.from(data.subarray(1).toString(), "base64")])
        : data;
    const body = message.subarray(1);
    if (message[0] === CHANNEL.stdin && !stdin.write(body)) {
      socket.pause();
      stdin.once("drain", () => socket.resume());
    } else if (message[0] === CHANNEL.resize) tellSize(body.toString(), resize);
    else if (message[0] === CHANNEL.close && body[0] === CHANNEL.stdin) stdin.end();
  });
  void closed.then(() => stdin.end());
  const send = (channel: number, data: Buffer, callback: (error?: Error) => void) => {
    if (socket.readyState !== socket.OPEN) return callback();
    if (base64) socket.send(channel + data.toString("base64"), callback);
    else socket.send(Buffer.concat([Buffer.from([channel]), data]), { binary: true }, callback);
  };
  const output = (channel: number) =>
    new Writable({
      highWaterMark: MAX_BUFFERED_BYTES,
      write: (chunk: Buffer, _encoding, callback) => send(channel, chunk, (error) => callback(error)),
    }).on("error", () => {});
  return {
    stdin: command.stdin ? stdin : undefined,
    stdout: command.stdout ? output(CHANNEL.stdout) : undefined,
    stderr: command.stderr && !command.tty ? output(CHANNEL.stderr) : undefined,
    closed,
    onResize: (listener) => {
      resize = listener;
      if (size) listener(...size);
    },
    finish: async (status) => {
      await new Promise<void>((resolve) => send(CHANNEL.error, Buffer.from(JSON.stringify(status)), () => resolve()));
      socket.close(1000);
    },
  };
}

function refuse(socket: Duplex, code: number, message: string): void {
  socket.end(
    `HTTP/1.1 ${code} Forbidden\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: ${Buffer.byteLength(message)}\r\nConnection: close\r\n\r\n${message}`,
  );
}
