import { codeOf, conflict, invalidArgument, Undo } from "../../base/index.ts";
import type { BoundSocket, SocketHost } from "../../host/index.ts";
import type { PortBinding, PublishedPort } from "./types.ts";

/** Tries at finding one ephemeral port that is free in both families. */
const MAX_TRIES = 20;

/** Ports of the host that are held for containers. */
export interface HeldPorts {
  readonly ports: readonly PublishedPort[];
  /** The sockets that hold them, in the order of `ports`. */
  readonly sockets: readonly BoundSocket[];
}

/**
 * Holds host ports by listening on them, so that nobody else can take them and a port that somebody has is noticed. No packet reaches these sockets
 * where nftables sends it to the container first.
 */
export class PortHolder {
  readonly #sockets: SocketHost;
  readonly #hasIPv6: () => boolean;

  constructor(sockets: SocketHost, hasIPv6: () => boolean) {
    this.#sockets = sockets;
    this.#hasIPv6 = hasIPv6;
  }

  /** All of `bindings`, or nothing. Throws conflict with "port is already allocated". */
  async hold(bindings: readonly PortBinding[]): Promise<HeldPorts> {
    await using undo = new Undo();
    const ports: PublishedPort[] = [];
    const sockets: BoundSocket[] = [];
    for (const binding of bindings) {
      for (const held of this.#holdOne(binding)) {
        ports.push(held.port);
        sockets.push(held.socket);
        undo.defer(() => held.socket.close());
      }
    }
    undo.commit();
    return { ports, sockets };
  }

  #holdOne(binding: PortBinding): { port: PublishedPort; socket: BoundSocket }[] {
    const addresses = binding.hostAddress ? [binding.hostAddress] : this.#hasIPv6() ? ["0.0.0.0", "::"] : ["0.0.0.0"];
    const first = binding.hostPortFirst ?? 0;
    const last = binding.hostPortLast ?? first;
    if (first < 0 || last > 65_535 || last < first) throw invalidArgument(`invalid port range ${first}-${last}`);
    const tries = first === 0 ? MAX_TRIES : last - first + 1;
    for (let attempt = 0; ; attempt++) {
      try {
        return this.#bindAll(binding, addresses, first === 0 ? 0 : first + attempt);
      } catch (error) {
        const retry = codeOf(error) === "conflict" && attempt + 1 < tries;
        if (!retry) throw explain(error, binding, addresses, first, last);
      }
    }
  }

  #bindAll(binding: PortBinding, addresses: readonly string[], wanted: number) {
    const held: { port: PublishedPort; socket: BoundSocket }[] = [];
    let hostPort = wanted;
    try {
      for (const address of addresses) {
        const backlog = binding.protocol === "tcp" ? { backlog: 16 } : {};
        const socket = this.#sockets.bind({ protocol: binding.protocol, address, port: hostPort, ...backlog });
        hostPort = socket.port;
        const { containerPort, protocol } = binding;
        held.push({ socket, port: { containerPort, protocol, hostAddress: address, hostPort } });
      }
      return held;
    } catch (error) {
      for (const { socket } of held) socket.close();
      throw error;
    }
  }
}

function explain(
  error: unknown,
  binding: PortBinding,
  addresses: readonly string[],
  first: number,
  last: number,
): unknown {
  const range = first === last ? `${first}` : `${first}-${last}`;
  const where = `${addresses[0]!.includes(":") ? `[${addresses[0]}]` : addresses[0]}:${range}`;
  if (codeOf(error) === "conflict") {
    return conflict(`Bind for ${where} failed: port is already allocated`, {
      cause: error,
      hint: `address already in use: another program or container has ${binding.protocol} port ${range}; stop it or publish another port`,
    });
  }
  if (codeOf(error) === "notFound") {
    return invalidArgument(`cannot publish on ${where}: the host does not have that address`, { cause: error });
  }
  return error;
}
