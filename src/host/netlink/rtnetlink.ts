import { hasCode, internal } from "../../base/index.ts";
import { systemErrno } from "../ffi/index.ts";
import { addressBytes, addressText, macBytes, macText, parseCidr } from "./address.ts";
import * as nl from "./message.ts";
import { encodeTokenBucket } from "./shaping.ts";
import { NETLINK_ROUTE, NetlinkSocket } from "./socket.ts";
import type {
  Address,
  BridgePortOptions,
  IpvlanMode,
  Link,
  LinkChange,
  LinkSpec,
  Neighbour,
  Netlink,
  NetlinkChanges,
  NetlinkHost,
  Route,
} from "./types.ts";

// Numbers of linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h and linux/neighbour.h.
const AF_INET = 2;
const AF_INET6 = 10;
const AF_BRIDGE = 7;
const RTM = {
  newLink: 16,
  deleteLink: 17,
  getLink: 18,
  setLink: 19,
  newAddress: 20,
  deleteAddress: 21,
  getAddress: 22,
  newRoute: 24,
  deleteRoute: 25,
  getRoute: 26,
  newNeighbour: 28,
  deleteNeighbour: 29,
  newQueue: 36,
};
const IFF_UP = 1;
const IFF_LOOPBACK = 8;
const IFF_RUNNING = 0x40;
const IFLA = {
  address: 1,
  name: 3,
  mtu: 4,
  parent: 5,
  master: 10,
  portInfo: 12,
  linkInfo: 18,
  netnsPid: 19,
  netnsFd: 28,
  alias: 20,
  extMask: 29,
};
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const VETH_INFO_PEER = 1;
const IFLA_MACVLAN_MODE = 1;
const MACVLAN_MODES = { private: 1, vepa: 2, bridge: 4, passthru: 8 };
const IFLA_IPVLAN_MODE = 1;
const IPVLAN_MODES = { l2: 0, l3: 1, l3s: 2 } as const satisfies Record<IpvlanMode, number>;
const IFLA_VLAN_ID = 1;
const IFLA_VXLAN = { id: 1, parent: 3, local: 4, learning: 7, port: 15, local6: 17 };
const IFLA_BRPORT = { hairpin: 4, learning: 8, isolated: 33 };
const IFA = { address: 1, local: 2, flags: 8 };
/** No duplicate address detection: IPv6 addresses that we give out are ours alone, and usable at once. */
const IFA_F_NODAD = 2;
const RTA = { destination: 1, link: 4, gateway: 5, priority: 6, source: 7, table: 15 };
const RT_TABLE_MAIN = 254;
const RTPROT_BOOT = 3;
const RT_SCOPE_LINK = 253;
const RTN_UNICAST = 1;
const NDA = { destination: 1, linkLayer: 2 };
const NUD_PERMANENT = 0x80;
const NTF_SELF = 2;
const LINK_HEADER_BYTES = 16;
const ADDRESS_HEADER_BYTES = 8;
const ROUTE_HEADER_BYTES = 12;

export class LinuxNetlinkHost implements NetlinkHost {
  open(): Netlink {
    return new Rtnetlink(new NetlinkSocket(NETLINK_ROUTE));
  }
}

/**
 * The requests that `task` makes, as messages for a kernel elsewhere (a virtual machine's), in their order; each asks to be acknowledged. Nothing can be
 * asked for: links are named by the index that they have there.
 */
export function recordNetlink(task: (netlink: NetlinkChanges) => void): Buffer[] {
  const messages: Buffer[] = [];
  const record = (_what: string, type: number, flags: number, body: Buffer) => {
    messages.push(nl.encodeMessage(type, flags | nl.NLM_F_REQUEST | nl.NLM_F_ACK, messages.length + 1, body));
    return [];
  };
  const elsewhere = () => {
    throw internal("what is recorded for another kernel cannot ask it");
  };
  task(new Rtnetlink({ request: record, dump: elsewhere, [Symbol.dispose]: () => {} }));
  return messages;
}

class Rtnetlink implements Netlink {
  readonly #socket: Pick<NetlinkSocket, "request" | "dump" | typeof Symbol.dispose>;

  constructor(socket: Pick<NetlinkSocket, "request" | "dump" | typeof Symbol.dispose>) {
    this.#socket = socket;
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }

  links(): Link[] {
    return this.#socket.dump("list links", RTM.getLink, linkHeader(0)).map(decodeLink);
  }

  link(name: string): Link | undefined {
    try {
      const body = nl.join([linkHeader(0), nl.attribute(IFLA.name, nl.text(name))]);
      const [answer] = this.#socket.request(`find link ${name}`, RTM.getLink, 0, body);
      return answer && decodeLink(answer);
    } catch (error) {
      if (hasCode(error, "notFound")) return undefined;
      throw error;
    }
  }

  addLink(spec: LinkSpec): number {
    const what = `create ${spec.kind.type} link ${spec.name}`;
    this.#socket.request(what, RTM.newLink, nl.NLM_F_CREATE | nl.NLM_F_EXCL, encodeLink(spec));
    // The kernel does not tell the index. A link that was born in another namespace is not to be found here.
    if ("netnsFd" in spec.kind && spec.kind.netnsFd !== undefined) return 0;
    const link = this.link(spec.name);
    if (!link) throw internal(`${what}: it is not there afterwards`);
    // An alias is only taken from a link that exists.
    if (spec.alias) this.#setLink(what, link.index, 0, 0, [nl.attribute(IFLA.alias, Buffer.from(spec.alias))]);
    return link.index;
  }

  changeLink(index: number, change: LinkChange): void {
    const flags = change.up === undefined ? 0 : IFF_UP;
    this.#setLink(`change link ${index}`, index, change.up ? IFF_UP : 0, flags, [
      change.name !== undefined && nl.attribute(IFLA.name, nl.text(change.name)),
      change.master !== undefined && nl.attribute(IFLA.master, nl.u32(change.master)),
      change.macAddress !== undefined && nl.attribute(IFLA.address, macBytes(change.macAddress)),
      change.mtu !== undefined && nl.attribute(IFLA.mtu, nl.u32(change.mtu)),
      change.netnsFd !== undefined && nl.attribute(IFLA.netnsFd, nl.u32(change.netnsFd)),
      change.netnsPid !== undefined && nl.attribute(IFLA.netnsPid, nl.u32(change.netnsPid)),
    ]);
  }

  changeBridgePort(index: number, options: BridgePortOptions): void {
    const flag = (type: number, value: boolean | undefined) =>
      value !== undefined && nl.attribute(type, nl.u8(Number(value)));
    const info = nl.nested(IFLA.portInfo, [
      flag(IFLA_BRPORT.hairpin, options.hairpin),
      flag(IFLA_BRPORT.learning, options.learning),
      flag(IFLA_BRPORT.isolated, options.isolated),
    ]);
    this.#setLink(`change bridge port ${index}`, index, 0, 0, [info], AF_BRIDGE);
  }

  limitRate(index: number, bytesPerSecond: number): void {
    const flags = nl.NLM_F_CREATE | nl.NLM_F_REPLACE;
    this.#socket.request(`limit link ${index}`, RTM.newQueue, flags, encodeTokenBucket(index, bytesPerSecond));
  }

  deleteLink(index: number): void {
    this.#tolerate(["notFound"], () =>
      this.#socket.request(`delete link ${index}`, RTM.deleteLink, 0, linkHeader(index)),
    );
  }

  addresses(link?: number): Address[] {
    const all = this.#socket
      .dump("list addresses", RTM.getAddress, Buffer.alloc(ADDRESS_HEADER_BYTES))
      .map(decodeAddress);
    return all.filter((address) => link === undefined || address.link === link);
  }

  addAddress(link: number, cidr: string): void {
    this.#tolerate(["alreadyExists"], () =>
      this.#socket.request(
        `add address ${cidr}`,
        RTM.newAddress,
        nl.NLM_F_CREATE | nl.NLM_F_EXCL,
        encodeAddress(link, cidr),
      ),
    );
  }

  deleteAddress(link: number, cidr: string): void {
    this.#tolerate(["notFound"], () =>
      this.#socket.request(`delete address ${cidr}`, RTM.deleteAddress, 0, encodeAddress(link, cidr)),
    );
  }

  routes(): Route[] {
    return this.#socket
      .dump("list routes", RTM.getRoute, Buffer.alloc(ROUTE_HEADER_BYTES))
      .filter((message) => message.body[7] === RTN_UNICAST)
      .map(decodeRoute)
      .filter((route) => route.table === RT_TABLE_MAIN);
  }

  replaceRoute(route: Partial<Route> & { destination: string }): void {
    const flags = nl.NLM_F_CREATE | nl.NLM_F_REPLACE;
    this.#socket.request(`set route to ${route.destination}`, RTM.newRoute, flags, encodeRoute(route));
  }

  deleteRoute(route: Partial<Route> & { destination: string }): void {
    this.#tolerate(["notFound"], () =>
      this.#socket.request(`delete route to ${route.destination}`, RTM.deleteRoute, 0, encodeRoute(route)),
    );
  }

  replaceNeighbour(neighbour: Neighbour): void {
    // The all-zeros entries of a VXLAN's database are a list (where broadcasts go), so they are appended.
    const flood = neighbour.destination !== undefined && neighbour.macAddress === "00:00:00:00:00:00";
    const flags = nl.NLM_F_CREATE | (flood ? nl.NLM_F_APPEND : nl.NLM_F_REPLACE);
    this.#tolerate(["alreadyExists"], () =>
      this.#socket.request(
        `set neighbour ${neighbour.macAddress}`,
        RTM.newNeighbour,
        flags,
        encodeNeighbour(neighbour),
      ),
    );
  }

  deleteNeighbour(neighbour: Neighbour): void {
    this.#tolerate(["notFound"], () =>
      this.#socket.request(
        `delete neighbour ${neighbour.macAddress}`,
        RTM.deleteNeighbour,
        0,
        encodeNeighbour(neighbour),
      ),
    );
  }

  #setLink(what: string, index: number, flags: number, change: number, parts: nl.Attributes, family = 0): void {
    this.#socket.request(what, RTM.setLink, 0, nl.join([linkHeader(index, flags, change, family), ...parts]));
  }

  #tolerate(codes: Parameters<typeof hasCode>[1][], task: () => unknown): void {
    try {
      task();
    } catch (error) {
      // ENODEV, ENOENT and ESRCH are notFound; a link of somebody else's making that refuses is not.
      if (!hasCode(error, ...codes) || systemErrno(error) === undefined) throw error;
    }
  }
}

function linkHeader(index: number, flags = 0, change = 0, family = 0): Buffer {
  const header = Buffer.alloc(LINK_HEADER_BYTES);
  header.writeUInt8(family, 0);
  header.writeInt32LE(index, 4);
  header.writeUInt32LE(flags, 8);
  header.writeUInt32LE(change, 12);
  return header;
}

function encodeLink(spec: LinkSpec): Buffer {
  const up = spec.up ? IFF_UP : 0;
  const { kind } = spec;
  return nl.join([
    linkHeader(0, up, up),
    nl.attribute(IFLA.name, nl.text(spec.name)),
    spec.macAddress && nl.attribute(IFLA.address, macBytes(spec.macAddress)),
    spec.mtu !== undefined && nl.attribute(IFLA.mtu, nl.u32(spec.mtu)),
    spec.master !== undefined && nl.attribute(IFLA.master, nl.u32(spec.master)),
    "parent" in kind &&
      kind.parent !== undefined &&
      kind.type !== "vxlan" &&
      nl.attribute(IFLA.parent, nl.u32(kind.parent)),
    (kind.type === "macvlan" || kind.type === "ipvlan") &&
      kind.netnsFd !== undefined &&
      nl.attribute(IFLA.netnsFd, nl.u32(kind.netnsFd)),
    nl.nested(IFLA.linkInfo, [
      nl.attribute(IFLA_INFO_KIND, Buffer.from(kind.type)),
      nl.nested(IFLA_INFO_DATA, encodeKind(kind)),
    ]),
  ]);
}

function encodeKind(kind: LinkSpec["kind"]): nl.Attributes {
  switch (kind.type) {
    case "bridge":
      return [];
    case "veth":
      return [
        nl.nested(VETH_INFO_PEER, [
          linkHeader(0),
          nl.attribute(IFLA.name, nl.text(kind.peer.name)),
          kind.peer.macAddress && nl.attribute(IFLA.address, macBytes(kind.peer.macAddress)),
          kind.peer.mtu !== undefined && nl.attribute(IFLA.mtu, nl.u32(kind.peer.mtu)),
          kind.peer.netnsFd !== undefined && nl.attribute(IFLA.netnsFd, nl.u32(kind.peer.netnsFd)),
        ]),
      ];
    case "macvlan":
      return [nl.attribute(IFLA_MACVLAN_MODE, nl.u32(MACVLAN_MODES[kind.mode]))];
    case "ipvlan":
      return [nl.attribute(IFLA_IPVLAN_MODE, nl.u16(IPVLAN_MODES[kind.mode]))];
    case "vlan":
      return [nl.attribute(IFLA_VLAN_ID, nl.u16(kind.id))];
    case "vxlan": {
      const local = kind.local === undefined ? undefined : addressBytes(kind.local);
      return [
        nl.attribute(IFLA_VXLAN.id, nl.u32(kind.id)),
        nl.attribute(IFLA_VXLAN.port, nl.u16be(kind.port)),
        nl.attribute(IFLA_VXLAN.learning, nl.u8(Number(kind.learning))),
        local && nl.attribute(local.length === 4 ? IFLA_VXLAN.local : IFLA_VXLAN.local6, local),
        kind.parent !== undefined && nl.attribute(IFLA_VXLAN.parent, nl.u32(kind.parent)),
      ];
    }
  }
}

function decodeLink(message: nl.Message): Link {
  const flags = message.body.readUInt32LE(8);
  const found = nl.attributes(message.body.subarray(LINK_HEADER_BYTES));
  const info = nl.attributes(found.get(IFLA.linkInfo) ?? Buffer.alloc(0));
  return {
    index: message.body.readInt32LE(4),
    name: nl.readText(found.get(IFLA.name)),
    kind: nl.readText(info.get(IFLA_INFO_KIND)),
    macAddress: macText(found.get(IFLA.address)),
    mtu: found.get(IFLA.mtu)?.readUInt32LE() ?? 0,
    up: (flags & IFF_UP) !== 0,
    running: (flags & IFF_RUNNING) !== 0,
    loopback: (flags & IFF_LOOPBACK) !== 0,
    master: found.get(IFLA.master)?.readUInt32LE() ?? 0,
    alias: nl.readText(found.get(IFLA.alias)),
  };
}

function encodeAddress(link: number, cidr: string): Buffer {
  const { bytes, prefixLength, family } = parseCidr(cidr);
  const header = Buffer.alloc(ADDRESS_HEADER_BYTES);
  header.writeUInt8(family === 4 ? AF_INET : AF_INET6, 0);
  header.writeUInt8(prefixLength, 1);
  header.writeUInt32LE(link, 4);
  return nl.join([
    header,
    nl.attribute(IFA.local, bytes),
    nl.attribute(IFA.address, bytes),
    family === 6 && nl.attribute(IFA.flags, nl.u32(IFA_F_NODAD)),
  ]);
}

function decodeAddress(message: nl.Message): Address {
  const found = nl.attributes(message.body.subarray(ADDRESS_HEADER_BYTES));
  return {
    link: message.body.readUInt32LE(4),
    address: addressText(found.get(IFA.local) ?? found.get(IFA.address) ?? Buffer.alloc(4)),
    prefixLength: message.body.readUInt8(1),
    family: message.body[0] === AF_INET ? 4 : 6,
  };
}

function encodeRoute(route: Partial<Route> & { destination: string }): Buffer {
  const { bytes, prefixLength, family } = parseCidr(route.destination);
  const header = Buffer.alloc(ROUTE_HEADER_BYTES);
  header.writeUInt8(family === 4 ? AF_INET : AF_INET6, 0);
  header.writeUInt8(prefixLength, 1);
  header.writeUInt8(RT_TABLE_MAIN, 4);
  header.writeUInt8(RTPROT_BOOT, 5);
  header.writeUInt8(route.gateway === undefined && family === 4 ? RT_SCOPE_LINK : 0, 6);
  header.writeUInt8(RTN_UNICAST, 7);
  return nl.join([
    header,
    prefixLength > 0 && nl.attribute(RTA.destination, bytes),
    route.gateway !== undefined && nl.attribute(RTA.gateway, addressBytes(route.gateway)),
    route.link !== undefined && nl.attribute(RTA.link, nl.u32(route.link)),
    route.source !== undefined && nl.attribute(RTA.source, addressBytes(route.source)),
    route.metric !== undefined && nl.attribute(RTA.priority, nl.u32(route.metric)),
  ]);
}

function decodeRoute(message: nl.Message): Route {
  const family = message.body[0] === AF_INET ? 4 : 6;
  const found = nl.attributes(message.body.subarray(ROUTE_HEADER_BYTES));
  const destination = found.get(RTA.destination) ?? Buffer.alloc(family === 4 ? 4 : 16);
  const gateway = found.get(RTA.gateway);
  const source = found.get(RTA.source);
  const metric = found.get(RTA.priority);
  return {
    destination: `${addressText(destination)}/${message.body.readUInt8(1)}`,
    family,
    link: found.get(RTA.link)?.readUInt32LE() ?? 0,
    table: found.get(RTA.table)?.readUInt32LE() ?? message.body.readUInt8(4),
    ...(gateway && { gateway: addressText(gateway) }),
    ...(source && { source: addressText(source) }),
    ...(metric && { metric: metric.readUInt32LE() }),
  };
}

function encodeNeighbour(neighbour: Neighbour): Buffer {
  const target = neighbour.address ?? neighbour.destination;
  const bytes = target === undefined ? undefined : addressBytes(target);
  const header = Buffer.alloc(12);
  const forwarding = neighbour.address === undefined;
  header.writeUInt8(forwarding ? AF_BRIDGE : bytes?.length === 16 ? AF_INET6 : AF_INET, 0);
  header.writeInt32LE(neighbour.link, 4);
  header.writeUInt16LE(NUD_PERMANENT, 8);
  header.writeUInt8(forwarding ? NTF_SELF : 0, 10);
  return nl.join([
    header,
    bytes && nl.attribute(NDA.destination, bytes),
    nl.attribute(NDA.linkLayer, macBytes(neighbour.macAddress)),
  ]);
}
