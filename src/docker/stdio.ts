import type { Duplex } from "node:stream";
import {
  DetachFilter,
  parseDetachKeys,
  readLogs,
  type AttachStream,
  type ContainerRecord,
  type DockerContainers,
} from "../engine/index.ts";

/**
 * Standard streams over a hijacked connection. Without a TTY output is framed (Docker's "stdcopy": one byte for the stream, three zero bytes, the length
 * as 32 bits big endian, the payload); with one, and all input, it is raw.
 */
export interface AttachOptions {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly logs: boolean;
  readonly stream: boolean;
  readonly detachKeys?: string;
  readonly tty: boolean;
  /** Never frame (WebSockets). */
  readonly raw?: boolean;
}

const STREAM_NUMBER = { stdout: 1, stderr: 2 } as const;
const HEADER_BYTES = 8;

export function frame(stream: "stdout" | "stderr", payload: Buffer): Buffer {
  const framed = Buffer.allocUnsafe(HEADER_BYTES + payload.length);
  framed.writeUInt32BE(STREAM_NUMBER[stream] << 24, 0);
  framed.writeUInt32BE(payload.length, 4);
  payload.copy(framed, HEADER_BYTES);
  return framed;
}

/** Serves an attach: what the log has, then the live streams, until the output ends, the client detaches or goes. */
export async function serveAttach(
  containers: DockerContainers,
  record: ContainerRecord,
  options: AttachOptions,
  connection: Duplex,
): Promise<void> {
  const framed = !options.tty && !options.raw;
  const gone = new AbortController();
  connection.once("close", () => gone.abort());
  connection.on("error", () => gone.abort());
  if (options.logs) {
    const files = containers.logFiles(record);
    const query = { stdout: options.stdout, stderr: options.stderr };
    for await (const entry of readLogs(files, query, AbortSignal.abort(), gone.signal)) {
      connection.write(framed ? frame(entry.stream, entry.text) : entry.text);
    }
  }
  if (!options.stream) return;
  const live = await containers.attach(record.id, gone.signal);
  if (!live) return;
  containers.event(record, "attach");
  const detached = await serveStream(live, { ...options, framed }, connection);
  if (detached) containers.event(record, "detach");
}

export interface StreamOptions {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly framed: boolean;
  readonly tty: boolean;
  readonly detachKeys?: string;
}

/** Couples a process' streams with a connection. True when the client typed the detach keys. */
export async function serveStream(live: AttachStream, options: StreamOptions, connection: Duplex): Promise<boolean> {
  live.onData((name, chunk) => {
    if (!options[name] || connection.destroyed) return;
    const more = connection.write(options.framed ? frame(name, chunk) : chunk);
    if (more) return;
    live.pause();
    connection.once("drain", () => live.resume());
  });
  let detached = false;
  const left = new Promise<void>((resolve) => {
    connection.once("close", resolve);
    if (!options.stdin) {
      // Nothing is expected from the client but its end, which must be read to be noticed.
      connection.resume();
      return;
    }
    const filter = options.tty ? new DetachFilter(parseDetachKeys(options.detachKeys)) : undefined;
    connection.on("data", (chunk: Buffer) => {
      const { data, detached: leaving } = filter?.push(chunk) ?? { data: chunk, detached: false };
      if (data.length > 0 && !live.write(data)) {
        connection.pause();
        void live.drained().then(() => connection.resume());
      }
      if (leaving) {
        detached = true;
        resolve();
      }
    });
    connection.on("end", () => live.closeStdin());
  });
  await Promise.race([live.ended, left]);
  live.close();
  return detached;
}
