import { closeSync } from "node:fs";
import { Socket } from "node:net";
import { bind as bindCall, bindChecked, errno, errnoError, errnoName } from "../ffi/index.ts";
import { addressBytes } from "../netlink/index.ts";

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_CLOEXEC = 0o2000000;
const SOCK_NONBLOCK = 0o4000;
const SOCK_TYPES = { tcp: 1, udp: 2, sctp: 1 } as const;
const IP_PROTOCOLS = { tcp: 6, udp: 17, sctp: 132 } as const;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_REUSEPORT = 15;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;

const socket = bindChecked("int socket(int domain, int type, int protocol)");
const setsockopt = bindChecked("int setsockopt(int fd, int level, int name, const void *value, unsigned int length)");
const bind = bindChecked("int bind(int fd, const void *address, unsigned int length)");
const listen = bindChecked("int listen(int fd, int backlog)");
const connect = bindCall("int connect(int fd, const void *address, unsigned int length)");
const getsockname = bindChecked("int getsockname(int fd, void *address, void *length)");

/** A bound socket held as a bare descriptor: to keep a port taken, or to hand over to node:net or node:dgram with `{ fd }`. */
export interface BoundSocket {
  readonly fd: number;
  readonly port: number;
  close(): void;
}

export interface BindOptions {
  readonly protocol: "tcp" | "udp" | "sctp";
  readonly address: string;
  /** 0: the kernel chooses. */
  readonly port: number;
  /** TCP: listen with this backlog. A listening socket keeps the port even from sockets that allow re-use. */
  readonly backlog?: number;
  /** Let several sockets of ours share the port. */
  readonly share?: boolean;
}

export interface SocketHost {
  /** Binds in the namespace in which the thread is. Throws conflict (EADDRINUSE), permissionDenied, or notFound for an address that is not here. */
  bind(options: BindOptions): BoundSocket;
}

export class LinuxSockets implements SocketHost {
  bind(options: BindOptions): BoundSocket {
    const bytes = addressBytes(options.address);
    const six = bytes.length === 16;
    const type = SOCK_TYPES[options.protocol] | SOCK_CLOEXEC;
    const fd = socket(six ? AF_INET6 : AF_INET, type, IP_PROTOCOLS[options.protocol]);
    try {
      const one = Buffer.from([1, 0, 0, 0]);
      if (six) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, one, 4);
      // TCP: connections of a former owner in TIME_WAIT are no reason to refuse; a listener still is.
      if (options.protocol === "tcp") setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, one, 4);
      if (options.share) setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, one, 4);
      const address = socketAddress(bytes, options.port);
      bind(fd, address, address.length);
      if (options.backlog !== undefined) listen(fd, options.backlog);
      return { fd, port: portOf(fd), close: once(() => closeSync(fd)) };
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }
}

/**
 * A TCP connection from the namespace in which the thread is, begun at once; the socket stays in that namespace. What is written waits until it stands;
 * whether it does is told by the socket's events.
 */
export function dialTcp(address: string, port: number): Socket {
  const bytes = addressBytes(address);
  const fd = socket(bytes.length === 16 ? AF_INET6 : AF_INET, SOCK_TYPES.tcp | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const target = socketAddress(bytes, port);
  if (connect(fd, target, target.length) < 0 && errnoName(errno()) !== "EINPROGRESS") {
    const error = errnoError(errno(), `connect to ${address} port ${port}`);
    closeSync(fd);
    throw error;
  }
  return new Socket({ fd, allowHalfOpen: true });
}

function socketAddress(bytes: Buffer, port: number): Buffer {
  const six = bytes.length === 16;
  const address = Buffer.alloc(six ? 28 : 16);
  address.writeUInt16LE(six ? AF_INET6 : AF_INET, 0);
  address.writeUInt16BE(port, 2);
  bytes.copy(address, six ? 8 : 4);
  return address;
}

function portOf(fd: number): number {
  const address = Buffer.alloc(28);
  const length = Buffer.from([28, 0, 0, 0]);
  getsockname(fd, address, length);
  return address.readUInt16BE(2);
}

function once(task: () => void): () => void {
  let done = false;
  return () => {
    if (done) return;
    done = true;
    task();
  };
}
