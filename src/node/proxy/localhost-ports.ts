import { hasCode, type Logger } from "../../base/index.ts";
import type { BoundSocket, SocketHost, Transport } from "../../host/index.ts";

/** A port of a LoadBalancer Service that the node's loopback does not lead to the Service. */
export interface LocalhostClash {
  readonly protocol: Transport;
  readonly port: number;
  /** `namespace/name` of the Service that has it; undefined: a program on this machine. */
  readonly heldBy?: string;
}

export interface LocalhostPort {
  readonly protocol: Transport;
  readonly port: number;
}

const ADDRESS = "127.0.0.1";

/**
 * The ports of this machine's 127.0.0.1 that lead to LoadBalancer Services. Each is held by a listening socket: a program that has the port already keeps it, one
 * that wants it later is told so, and of two Services the first has it. The socket is only a claim: connections are translated before they reach it.
 */
export class LocalhostPorts {
  readonly #sockets: SocketHost;
  readonly #log: Logger;
  readonly #held = new Map<string, { readonly service: string; readonly socket: BoundSocket }>();

  constructor(sockets: SocketHost, log: Logger) {
    this.#sockets = sockets;
    this.#log = log;
  }

  /** Gives back what the Service had and no longer wants, takes what it wants. `ports` are those it has, as `tcp/80`. */
  claim(
    service: string,
    wanted: readonly LocalhostPort[],
  ): { readonly ports: ReadonlySet<string>; readonly clashes: readonly LocalhostClash[] } {
    const names = new Set(wanted.map(portName));
    for (const [name, held] of this.#held) if (held.service === service && !names.has(name)) this.#release(name);
    const clashes = wanted.flatMap((one) => this.#take(service, one) ?? []);
    return { ports: new Set([...names].filter((name) => this.#held.get(name)?.service === service)), clashes };
  }

  #take(service: string, one: LocalhostPort): LocalhostClash | undefined {
    const name = portName(one);
    const holder = this.#held.get(name)?.service;
    if (holder !== undefined) return holder === service ? undefined : { ...one, heldBy: holder };
    try {
      const socket = this.#sockets.bind({ ...one, address: ADDRESS, ...(one.protocol !== "udp" && { backlog: 1 }) });
      this.#held.set(name, { service, socket });
      return undefined;
    } catch (error) {
      if (!hasCode(error, "conflict")) this.#log.warn("a port of localhost cannot be had", { error, ...one });
      return one;
    }
  }

  #release(name: string): void {
    this.#held.get(name)?.socket.close();
    this.#held.delete(name);
  }

  close(): void {
    for (const name of this.#held.keys()) this.#release(name);
  }
}

export function portName({ protocol, port }: LocalhostPort): string {
  return `${protocol}/${port}`;
}
