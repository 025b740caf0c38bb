import { conflict } from "../../base/index.ts";
import type { BindOptions, BoundSocket, SocketHost } from "./socket.ts";

/** Ports in memory, with the wildcard rule: 0.0.0.0 and an address of the same family clash. For tests. */
export class FakeSockets implements SocketHost {
  readonly bound = new Map<number, BindOptions>();
  #nextFd = 100;
  #nextPort = 40_000;

  bind(options: BindOptions): BoundSocket {
    const port = options.port || this.#nextPort++;
    for (const other of this.bound.values()) if (clash({ ...options, port }, other)) throw conflict("bind: EADDRINUSE");
    const fd = this.#nextFd++;
    this.bound.set(fd, { ...options, port });
    return { fd, port, close: () => void this.bound.delete(fd) };
  }
}

function clash(one: BindOptions, other: BindOptions): boolean {
  const six = (options: BindOptions) => options.address.includes(":");
  const any = (options: BindOptions) => options.address === "0.0.0.0" || options.address === "::";
  if (one.protocol !== other.protocol || one.port !== other.port || six(one) !== six(other)) return false;
  return any(one) || any(other) || one.address === other.address;
}
