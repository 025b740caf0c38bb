/** Links, addresses, routes and neighbours of one network namespace, as rtnetlink(7) has them. All calls are synchronous and throw BerthErrors. */
export interface Link {
  readonly index: number;
  readonly name: string;
  /** `bridge`, `veth`, `macvlan`, `vxlan`, …; empty for hardware and loopback. */
  readonly kind: string;
  readonly macAddress: string;
  readonly mtu: number;
  readonly up: boolean;
  /** Has a carrier. */
  readonly running: boolean;
  readonly loopback: boolean;
  /** Index of the bridge it is in; 0 for none. */
  readonly master: number;
  readonly alias: string;
}

export type IpvlanMode = "l2" | "l3" | "l3s";

export interface LinkSpec {
  readonly name: string;
  readonly macAddress?: string;
  readonly mtu?: number;
  /** Index of a bridge to join. */
  readonly master?: number;
  readonly up?: boolean;
  /** A label of ours, shown by `ip link`. */
  readonly alias?: string;
  readonly kind:
    | { readonly type: "bridge" }
    | { readonly type: "veth"; readonly peer: VethPeer }
    | { readonly type: "macvlan"; readonly parent: number; readonly mode: MacvlanMode; readonly netnsFd?: number }
    | { readonly type: "ipvlan"; readonly parent: number; readonly mode: IpvlanMode; readonly netnsFd?: number }
    | {
        readonly type: "vxlan";
        readonly id: number;
        readonly port: number;
        readonly local?: string;
        readonly parent?: number;
        readonly learning: boolean;
      }
    | { readonly type: "vlan"; readonly parent: number; readonly id: number };
}

export type MacvlanMode = "private" | "vepa" | "bridge" | "passthru";

export interface VethPeer {
  readonly name: string;
  readonly macAddress?: string;
  readonly mtu?: number;
  /** Namespace the peer is born in. */
  readonly netnsFd?: number;
}

export interface LinkChange {
  readonly up?: boolean;
  readonly name?: string;
  /** 0 leaves the bridge. */
  readonly master?: number;
  readonly macAddress?: string;
  readonly mtu?: number;
  readonly netnsFd?: number;
  /** Into the network namespace of a process. */
  readonly netnsPid?: number;
}

export interface BridgePortOptions {
  /** Frames may leave through the port they came in by (a Pod reaching itself through a Service). */
  readonly hairpin?: boolean;
  /** Frames never pass between two isolated ports. */
  readonly isolated?: boolean;
  readonly learning?: boolean;
}

export interface Address {
  readonly link: number;
  readonly address: string;
  readonly prefixLength: number;
  readonly family: 4 | 6;
}

export interface Route {
  /** CIDR; `0.0.0.0/0` and `::/0` for the default route. */
  readonly destination: string;
  readonly family: 4 | 6;
  readonly gateway?: string;
  /** Index of the outgoing link; 0 for none. */
  readonly link: number;
  readonly source?: string;
  readonly metric?: number;
  readonly table: number;
}

export interface Neighbour {
  readonly link: number;
  /** An IP address, or nothing for an entry of a bridge's or VXLAN's forwarding database. */
  readonly address?: string;
  readonly macAddress: string;
  /** For a VXLAN's forwarding database: the other node. */
  readonly destination?: string;
}

export interface Netlink extends Disposable {
  links(): Link[];
  /** undefined when there is none of that name. */
  link(name: string): Link | undefined;
  /** Returns the new link's index. */
  addLink(spec: LinkSpec): number;
  changeLink(index: number, change: LinkChange): void;
  changeBridgePort(index: number, options: BridgePortOptions): void;
  /** Lets no more than so many bytes a second leave by the link. */
  limitRate(index: number, bytesPerSecond: number): void;
  /** No error when it is gone already. */
  deleteLink(index: number): void;
  addresses(link?: number): Address[];
  /** `cidr` is address/prefix length. No error when it is there already. */
  addAddress(link: number, cidr: string): void;
  deleteAddress(link: number, cidr: string): void;
  /** Unicast routes of the main table. */
  routes(): Route[];
  replaceRoute(route: Partial<Route> & { destination: string }): void;
  deleteRoute(route: Partial<Route> & { destination: string }): void;
  replaceNeighbour(neighbour: Neighbour): void;
  deleteNeighbour(neighbour: Neighbour): void;
}

/** What changes links that are there and asks nothing. */
export type NetlinkChanges = Pick<
  Netlink,
  | "changeLink"
  | "addAddress"
  | "deleteAddress"
  | "replaceRoute"
  | "deleteRoute"
  | "replaceNeighbour"
  | "deleteNeighbour"
>;

export interface NetlinkHost {
  /** A connection to the namespace in which the thread is (see NetnsHost.enter); it stays there. */
  open(): Netlink;
}
