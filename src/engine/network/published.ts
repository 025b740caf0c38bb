import { Undo, type Logger } from "../../base/index.ts";
import type { BoundSocket, SocketHost } from "../../host/index.ts";
import { PortHolder } from "./ports.ts";
import type { relayTcp } from "./relay.ts";
import { isRouted, portTarget, type PortTarget } from "./routes.ts";
import { portElements } from "./ruleset.ts";
import type { NetworkTable } from "./table.ts";
import type { PortBinding, PublishedPort, Sandbox } from "./types.ts";

export interface PublishedPortsOptions {
  readonly sockets: SocketHost;
  readonly table: NetworkTable;
  readonly relay: typeof relayTcp | undefined;
  readonly hasIPv6: () => boolean;
  readonly log: Logger;
}

/** Ports of the host that lead to sandboxes: held by sockets, served by the nftables table, or by a relay where it cannot. */
export class PublishedPorts {
  readonly #options: PublishedPortsOptions;
  readonly #holder: PortHolder;
  readonly #held = new Map<string, BoundSocket[]>();

  constructor(options: PublishedPortsOptions) {
    this.#options = options;
    this.#holder = new PortHolder(options.sockets, options.hasIPv6);
  }

  /** Throws conflict for a port in use, having changed nothing. */
  async open(sandbox: Sandbox, bindings: readonly PortBinding[]): Promise<readonly PublishedPort[]> {
    if (bindings.length === 0) return [];
    const target = portTarget(sandbox);
    if (isRouted(target)) return this.#openDirectly(target, bindings);
    await using undo = new Undo();
    const held = await this.#holder.hold(bindings);
    undo.defer(() => held.sockets.forEach((socket) => socket.close()));
    this.#options.table.change(portElements("add", held.ports, target));
    this.#held.set(sandbox.spec.id, this.#relayed(sandbox, held.ports, held.sockets));
    undo.commit();
    return held.ports;
  }

  /** On a routed network ports are opened at the container's own addresses; the host's have nothing to do with it (port 0). */
  #openDirectly(target: PortTarget, bindings: readonly PortBinding[]): PublishedPort[] {
    const ports = bindings.flatMap(({ containerPort, protocol }) =>
      [target.ipv4Address && "0.0.0.0", target.ipv6Address && "::"]
        .filter(Boolean)
        .map((hostAddress) => ({ containerPort, protocol, hostAddress, hostPort: 0 })),
    );
    this.#options.table.change(portElements("add", ports, target));
    return ports;
  }

  close(sandbox: Sandbox): void {
    this.#release(sandbox.spec.id);
    if (sandbox.publishedPorts.length > 0) {
      this.#options.table.change(portElements("delete", sandbox.publishedPorts, portTarget(sandbox)));
    }
  }

  /** Lets the ports follow the sandbox from one address to another. */
  move(before: Sandbox, after: Sandbox): void {
    const [from, to] = [portTarget(before), portTarget(after)];
    const same = from.ipv4Address === to.ipv4Address && from.ipv6Address === to.ipv6Address;
    if (after.publishedPorts.length === 0 || same) return;
    this.#options.table.change([
      ...portElements("delete", after.publishedPorts, from),
      ...portElements("add", after.publishedPorts, to),
    ]);
  }

  /** After a restart: fills the fresh table and holds the ports again. A port that was lost meanwhile is reported, not fatal. */
  restore(sandbox: Sandbox): void {
    const ports = sandbox.publishedPorts;
    if (ports.length === 0) return;
    this.#options.table.change(portElements("add", ports, portTarget(sandbox)));
    if (isRouted(portTarget(sandbox))) return;
    const sockets = ports.map((port) => this.#holdAgain(port));
    const complete = sockets.every((socket) => socket.fd >= 0);
    this.#held.set(sandbox.spec.id, complete ? this.#relayed(sandbox, ports, sockets) : sockets);
  }

  closeSockets(): void {
    for (const id of this.#held.keys()) this.#release(id);
  }

  #release(id: string): void {
    for (const socket of this.#held.get(id) ?? []) socket.close();
    this.#held.delete(id);
  }

  #holdAgain({ protocol, hostAddress, hostPort }: PublishedPort): BoundSocket {
    try {
      const backlog = protocol === "tcp" ? { backlog: 16 } : {};
      return this.#options.sockets.bind({ protocol, address: hostAddress, port: hostPort, ...backlog });
    } catch (error) {
      this.#options.log.warn("a published port is held by somebody else", { port: hostPort, protocol, error });
      return { fd: -1, port: hostPort, close: () => {} };
    }
  }

  /** IPv6 connections that the table does not take, to a container without IPv6 or from ::1, are served by a relay. */
  #relayed(sandbox: Sandbox, ports: readonly PublishedPort[], sockets: readonly BoundSocket[]): BoundSocket[] {
    const target = portTarget(sandbox);
    const address = target.ipv6Address || target.ipv4Address;
    const { relay } = this.#options;
    return sockets.map((socket, index) => {
      const port = ports[index]!;
      const needed = port.hostAddress.includes(":") && port.protocol === "tcp" && address !== "";
      return needed && relay ? relay(socket, { address, port: port.containerPort }) : socket;
    });
  }
}
