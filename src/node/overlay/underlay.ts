import path from "node:path";
import { instanceTag, kernelName, type InstanceContext } from "../../base/index.ts";
import { networkOfHost, networkWithin, type NetworkHosts } from "../../host/index.ts";
import { overlayNode, type ClusterRanges, type OverlayNode } from "./plan.ts";
import { OVERLAY_PORT } from "./overlay.ts";

/** So much larger than a Pod's packets that these fit into a VXLAN frame. */
const UNDERLAY_MTU = 1600;
const PREFIX_LENGTH = 24;
const PREFIX_LENGTH6 = 64;

/**
 * The "cable and switch" between the local nodes: a bridge on the machine, and for each further node a network namespace with one link into it. The machine itself
 * is the first node and has the bridge's address; further nodes reach the world through it.
 */
export class Underlay {
  readonly #ctx: InstanceContext;
  readonly #ranges: ClusterRanges;
  readonly #host: NetworkHosts;

  constructor(ctx: InstanceContext, ranges: ClusterRanges, host: NetworkHosts = networkOfHost()) {
    this.#ctx = ctx;
    this.#ranges = ranges;
    this.#host = host;
  }

  get bridge(): string {
    return kernelName(this.#ctx.instance, "u");
  }

  /** Where the node's namespace is pinned. */
  pin(node: Pick<OverlayNode, "index">): string {
    return path.join(this.#ctx.runtimeDir, "nodes", String(node.index));
  }

  /** Makes the bridge, with the address of the machine's own node. Frames of the overlay are taken from it alone. Idempotent. */
  async open(own: OverlayNode): Promise<void> {
    using netlink = this.#host.netlink.open();
    const name = this.bridge;
    const index =
      netlink.link(name)?.index ??
      netlink.addLink({ name, kind: { type: "bridge" }, mtu: UNDERLAY_MTU, up: true, alias: "berth local nodes" });
    for (const address of addressesOf(own)) netlink.addAddress(index, address);
    await this.#host.nft.load(guardRuleset(this.#guard, name, overlayId(this.#ctx.instance)));
  }

  get #guard(): string {
    return kernelName(this.#ctx.instance, "o");
  }

  /** A node's namespace, plugged in and with its way out. Idempotent; what a former daemon made is found by its pin. */
  plugIn(node: OverlayNode): NetworkHosts {
    const pin = this.pin(node);
    const { netns } = this.#host;
    netns.create(pin);
    const hosts = networkWithin(pin, this.#host);
    const port = this.#port(node);
    using netlink = this.#host.netlink.open();
    const bridge = netlink.link(this.bridge)?.index ?? 0;
    if (!netlink.link(port)) {
      const netnsFd = netns.open(pin);
      try {
        const peer = { name: "eth0", mtu: UNDERLAY_MTU, netnsFd };
        netlink.addLink({ name: port, mtu: UNDERLAY_MTU, master: bridge, kind: { type: "veth", peer }, up: true });
      } finally {
        netns.close(netnsFd);
      }
    }
    netns.enter(pin, () => {
      using inside = this.#host.netlink.open();
      inside.changeLink(inside.link("lo")!.index, { up: true });
      const eth0 = inside.link("eth0")!.index;
      inside.changeLink(eth0, { up: true });
      for (const address of addressesOf(node)) inside.addAddress(eth0, address);
      const { underlay, underlay6 } = overlayNode(this.#ranges, 1);
      inside.replaceRoute({ destination: "0.0.0.0/0", gateway: underlay, link: eth0 });
      if (underlay6) inside.replaceRoute({ destination: "::/0", gateway: underlay6, link: eth0 });
      netns.sysctl("net/ipv4/conf/eth0/rp_filter", 0, true);
    });
    return hosts;
  }

  /** Takes the node's namespace away with everything in it. Idempotent. */
  unplug(node: Pick<OverlayNode, "index">): void {
    using netlink = this.#host.netlink.open();
    const port = netlink.link(this.#port(node));
    if (port) netlink.deleteLink(port.index);
    this.#host.netns.remove(this.pin(node));
  }

  /** As a cable that is pulled out and put in again. */
  connect(node: Pick<OverlayNode, "index">, up: boolean): void {
    using netlink = this.#host.netlink.open();
    const port = netlink.link(this.#port(node));
    if (port) netlink.changeLink(port.index, { up });
  }

  close(): void {
    using netlink = this.#host.netlink.open();
    const bridge = netlink.link(this.bridge);
    if (bridge) netlink.deleteLink(bridge.index);
    this.#host.nft.deleteTable("inet", this.#guard);
  }

  #port(node: Pick<OverlayNode, "index">): string {
    return kernelName(this.#ctx.instance, `u${node.index}`);
  }
}

/** On the network that joins the nodes. */
function addressesOf({ underlay, underlay6 }: OverlayNode): string[] {
  return [`${underlay}/${PREFIX_LENGTH}`, ...(underlay6 ? [`${underlay6}/${PREFIX_LENGTH6}`] : [])];
}

/** The overlay's number: instances on one machine differ by it. */
export function overlayId(instance: string): number {
  return Number.parseInt(instanceTag(instance), 16) + 1;
}

/** VXLAN has no sender's proof: frames with our number count only when they come from our own bridge. */
function guardRuleset(table: string, bridge: string, id: number): string {
  return `table inet ${table} {
}
delete table inet ${table}
table inet ${table} {
	chain input {
		type filter hook input priority -10; policy accept;
		iifname != "${bridge}" udp dport ${OVERLAY_PORT} @th,96,24 ${id} drop
	}
}
`;
}
