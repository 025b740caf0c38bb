import { kernelName, type InstanceContext } from "../../base/index.ts";
import type { NetlinkHost, NetnsHost } from "../../host/index.ts";
import type { OverlayNode } from "./plan.ts";

/** IANA's for VXLAN. */
export const OVERLAY_PORT = 4789;
const OVERLAY_MTU = 1500;

export interface OverlayOptions {
  readonly id: number;
  readonly own: OverlayNode;
  readonly hosts: { readonly netlink: NetlinkHost; readonly netns: NetnsHost };
  /** Addresses and ranges beside its Pods' that only the machine's own node answers (DNS, Ingress). */
  readonly ofTheMachine?: readonly string[];
}

/**
 * One node's end of the Pod network between nodes: a VXLAN link, and for each other node a route to its Pods. All that could be learnt is known beforehand, so
 * nothing is: neighbours and forwarding entries are fixed.
 */
export class Overlay {
  readonly #ctx: InstanceContext;
  readonly #options: OverlayOptions;
  #peers: readonly OverlayNode[] = [];

  constructor(ctx: InstanceContext, options: OverlayOptions) {
    this.#ctx = ctx;
    this.#options = options;
  }

  get link(): string {
    return overlayLink(this.#ctx.instance);
  }

  /** Idempotent. */
  open(): void {
    const { own, id, hosts } = this.#options;
    using netlink = hosts.netlink.open();
    const kind = { type: "vxlan", id, port: OVERLAY_PORT, local: own.underlay, learning: false } as const;
    const index =
      netlink.link(this.link)?.index ??
      netlink.addLink({ name: this.link, macAddress: own.mac, mtu: OVERLAY_MTU, kind, up: true, alias: "berth Pods" });
    for (const end of own.ends) netlink.addAddress(index, `${end}/${end.includes(":") ? 128 : 32}`);
    hosts.netns.sysctl(`net/ipv4/conf/${this.link}/rp_filter`, 0, true);
  }

  /** The other nodes, as they are now. What led to one that has gone goes. */
  setPeers(peers: readonly OverlayNode[]): void {
    using netlink = this.#options.hosts.netlink.open();
    const link = netlink.link(this.link)?.index;
    if (link === undefined) return;
    const wanted = peers.filter(({ index }) => index !== this.#options.own.index);
    for (const old of this.#peers)
      if (!wanted.some(({ index }) => index === old.index))
        for (const destination of [...old.podCidrs, ...old.ends.map(alone)]) netlink.deleteRoute({ destination, link });
    for (const peer of wanted) this.#reach(netlink, link, peer);
    this.#peers = wanted;
  }

  #reach(netlink: ReturnType<NetlinkHost["open"]>, link: number, peer: OverlayNode): void {
    netlink.replaceNeighbour({ link, macAddress: peer.mac, destination: peer.underlay });
    for (const [at, end] of peer.ends.entries()) {
      const source = this.#options.own.gateways[at]!;
      netlink.replaceRoute({ destination: alone(end), link });
      netlink.replaceNeighbour({ link, address: end, macAddress: peer.mac });
      netlink.replaceRoute({ destination: peer.podCidrs[at]!, gateway: end, link, source });
      const further = peer.index === 1 ? (this.#options.ofTheMachine ?? []) : [];
      for (const address of further)
        if (address.includes(":") === end.includes(":"))
          netlink.replaceRoute({
            destination: address.includes("/") ? address : alone(address),
            gateway: end,
            link,
            source,
          });
    }
  }

  /** Idempotent. */
  close(): void {
    using netlink = this.#options.hosts.netlink.open();
    const found = netlink.link(this.link);
    if (found) netlink.deleteLink(found.index);
  }
}

/** Its name is the same in every node's namespace. */
export function overlayLink(instance: string): string {
  return kernelName(instance, "v");
}

function alone(address: string): string {
  return `${address}/${address.includes(":") ? 128 : 32}`;
}
