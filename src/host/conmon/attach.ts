import { closeSync, openSync } from "node:fs";
import { Socket } from "node:net";
import { unavailable } from "../../base/index.ts";
import { checked, libc } from "../ffi/index.ts";

/**
 * A client of conmon's attach socket: SOCK_SEQPACKET; each packet from conmon is one byte for the stream (2 stdout, 3 stderr) and at most 8 KiB
 * of output; packets to it are stdin. Node's net cannot connect such a socket, so the C library does, and libuv's pipe handle, which reads
 * packet by packet, takes the descriptor over.
 */
export interface AttachSocket {
  onData(listener: (stream: "stdout" | "stderr", chunk: Buffer) => void): void;
  readonly ended: Promise<void>;
  write(chunk: Uint8Array): boolean;
  drained(): Promise<void>;
  closeStdin(): void;
  pause(): void;
  resume(): void;
  close(): void;
}

const AF_UNIX = 1;
const SOCK_SEQPACKET_CLOEXEC = 5 | 0o2000000;
const O_PATH = 0o10000000;
const STDERR_PACKET = 3;
/** conmon reads stdin packets into a buffer of this size. */
const MAX_PACKET_BYTES = 32 * 1024;

const socket = "int socket(int domain, int type, int protocol)";
const connect = "int connect(int fd, const void *address, unsigned int length)";

/** Connects to the monitor of the container or exec whose bundle this is. Throws notFound or unavailable when none listens. */
export function connectAttach(bundle: string): AttachSocket {
  // A socket's address has 108 bytes; through an open directory any path fits.
  const directory = openSync(bundle, O_PATH);
  const fd = checked(libc(socket)(AF_UNIX, SOCK_SEQPACKET_CLOEXEC, 0), "socket");
  try {
    const address = Buffer.alloc(110);
    address.writeUInt16LE(AF_UNIX, 0);
    address.write(`/proc/self/fd/${directory}/attach`, 2);
    checked(libc(connect)(fd, address, address.length), "cannot reach the container's monitor");
    return new PacketSocket(fd);
  } catch (error) {
    closeSync(fd);
    throw error;
  } finally {
    closeSync(directory);
  }
}

interface PipeHandle {
  open(fd: number): number;
}

/** A net.Socket over any stream-like descriptor: `net.Socket({ fd })` refuses SOCK_SEQPACKET only because of its own guess of the type. */
function socketOf(fd: number): Socket {
  const binding = (process as unknown as { binding(name: string): unknown }).binding("pipe_wrap") as {
    Pipe: new (type: number) => PipeHandle;
    constants: { SOCKET: number };
  };
  const handle = new binding.Pipe(binding.constants.SOCKET);
  const failed = handle.open(fd);
  if (failed) throw unavailable("this Node.js cannot read the monitor's socket");
  const options: object = { handle, allowHalfOpen: true, readable: true, writable: true };
  const stream = new Socket(options);
  // Chunks that wait would go out together, as one packet; conmon cuts off what is more than its buffer takes.
  return Object.assign(stream, { _writev: null });
}

class PacketSocket implements AttachSocket {
  readonly ended: Promise<void>;
  readonly #socket: Socket;
  #listener: ((stream: "stdout" | "stderr", chunk: Buffer) => void) | undefined;

  constructor(fd: number) {
    this.#socket = socketOf(fd);
    this.ended = new Promise((resolve) => this.#socket.once("close", () => resolve()));
    // conmon leaves with unread stdin as it pleases: a reset is an end like any other.
    this.#socket.on("error", () => {});
    this.#socket.once("end", () => this.#socket.destroy());
    this.#socket.on("data", (packet: Buffer) => {
      this.#listener?.(packet[0] === STDERR_PACKET ? "stderr" : "stdout", packet.subarray(1));
    });
  }
  onData(listener: (stream: "stdout" | "stderr", chunk: Buffer) => void): void {
    this.#listener = listener;
  }
  write(chunk: Uint8Array): boolean {
    let more = true;
    for (let at = 0; at < chunk.length; at += MAX_PACKET_BYTES) {
      more = this.#socket.write(chunk.subarray(at, at + MAX_PACKET_BYTES));
    }
    return more;
  }
  drained(): Promise<void> {
    if (this.#socket.destroyed || !this.#socket.writableNeedDrain) return Promise.resolve();
    return new Promise((resolve) => {
      this.#socket.once("drain", resolve);
      this.#socket.once("close", resolve);
    });
  }
  closeStdin(): void {
    if (!this.#socket.destroyed) this.#socket.end();
  }
  pause(): void {
    this.#socket.pause();
  }
  resume(): void {
    this.#socket.resume();
  }
  close(): void {
    this.#socket.destroy();
  }
}
