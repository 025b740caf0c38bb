import { alreadyExists, notFound } from "../../base/index.ts";
import type { FakeNetns } from "../netns/index.ts";
import { parseCidr } from "./address.ts";
import type {
  Address,
  BridgePortOptions,
  Link,
  LinkChange,
  LinkSpec,
  Neighbour,
  Netlink,
  NetlinkHost,
  Route,
} from "./types.ts";

interface Space {
  links: Map<number, Link>;
  /** Bytes a second. */
  rates: Map<number, number>;
  addresses: Address[];
  routes: Route[];
  ports: Map<number, BridgePortOptions>;
  neighbours: Neighbour[];
}

/** Links and addresses in memory, one set for each of the fake namespaces. A veth's ends vanish together, as the kernel's do. For tests. */
export class FakeNetlinkHost implements NetlinkHost {
  readonly spaces = new Map<string, Space>();
  readonly peers = new Map<number, { space: string; index: number }>();
  readonly #netns: FakeNetns;
  #nextIndex = 2;

  constructor(netns: FakeNetns) {
    this.#netns = netns;
  }
  open(): Netlink {
    return new FakeNetlink(this, this.#netns.current);
  }
  nextIndex(): number {
    return this.#nextIndex++;
  }
  pinOf(fd: number): string {
    return this.#netns.pinOf(fd);
  }
  space(pin: string): Space {
    let space = this.spaces.get(pin);
    if (!space) {
      const lo: Link = { ...blank(1, "lo", ""), loopback: true };
      space = {
        links: new Map([[1, lo]]),
        addresses: [],
        routes: [],
        ports: new Map(),
        rates: new Map(),
        neighbours: [],
      };
      this.spaces.set(pin, space);
    }
    return space;
  }
  /** Removes a link, its addresses and routes, and its veth peer. */
  remove(pin: string, index: number): void {
    const space = this.space(pin);
    if (!space.links.delete(index)) return;
    space.addresses = space.addresses.filter((address) => address.link !== index);
    space.routes = space.routes.filter((route) => route.link !== index);
    const peer = this.peers.get(index);
    this.peers.delete(index);
    if (peer) this.remove(peer.space, peer.index);
  }
}

function blank(index: number, name: string, kind: string): Link {
  return {
    index,
    name,
    kind,
    macAddress: "",
    mtu: 1500,
    up: false,
    running: false,
    loopback: false,
    master: 0,
    alias: "",
  };
}

class FakeNetlink implements Netlink {
  readonly #host: FakeNetlinkHost;
  readonly #pin: string;
  constructor(host: FakeNetlinkHost, pin: string) {
    this.#host = host;
    this.#pin = pin;
  }
  get #space(): Space {
    return this.#host.space(this.#pin);
  }
  [Symbol.dispose](): void {}

  links(): Link[] {
    return [...this.#space.links.values()];
  }
  link(name: string): Link | undefined {
    return this.links().find((link) => link.name === name);
  }
  addLink(spec: LinkSpec): number {
    const { kind } = spec;
    const born = "netnsFd" in kind && kind.netnsFd !== undefined ? this.#host.pinOf(kind.netnsFd) : this.#pin;
    const index = this.#create(born, spec.name, kind.type, spec);
    if (kind.type === "veth") {
      const pin = kind.peer.netnsFd === undefined ? this.#pin : this.#host.pinOf(kind.peer.netnsFd);
      const peer = this.#create(pin, kind.peer.name, "veth", kind.peer);
      this.#host.peers.set(index, { space: pin, index: peer });
      this.#host.peers.set(peer, { space: this.#pin, index });
    }
    return born === this.#pin ? index : 0;
  }
  #create(pin: string, name: string, kind: string, facts: Partial<Omit<LinkSpec, "kind">>): number {
    const space = this.#host.space(pin);
    if ([...space.links.values()].some((link) => link.name === name)) throw alreadyExists(`link ${name} exists`);
    const index = this.#host.nextIndex();
    const { macAddress = "02:00:00:00:00:01", mtu = 1500, up = false, master = 0, alias = "" } = facts;
    space.links.set(index, { ...blank(index, name, kind), macAddress, mtu, up, master, alias });
    return index;
  }
  changeLink(index: number, change: LinkChange): void {
    const link = this.#space.links.get(index);
    if (!link) throw notFound(`no link ${index}`);
    const { netnsFd, ...rest } = change;
    const target = netnsFd === undefined ? this.#space : this.#host.space(this.#host.pinOf(netnsFd));
    this.#space.links.delete(index);
    target.links.set(index, { ...link, ...rest });
  }
  limitRate(index: number, bytesPerSecond: number): void {
    this.#space.rates.set(index, bytesPerSecond);
  }
  changeBridgePort(index: number, options: BridgePortOptions): void {
    this.#space.ports.set(index, { ...this.#space.ports.get(index), ...options });
  }
  deleteLink(index: number): void {
    this.#host.remove(this.#pin, index);
  }
  addresses(link?: number): Address[] {
    return this.#space.addresses.filter((address) => link === undefined || address.link === link);
  }
  addAddress(link: number, cidr: string): void {
    const { prefixLength, family } = parseCidr(cidr);
    const address = cidr.split("/")[0]!;
    if (this.addresses(link).some((one) => one.address === address)) return;
    this.#space.addresses.push({ link, address, prefixLength, family });
    this.#space.routes.push({ destination: cidr, family, link, table: 254, source: address });
  }
  deleteAddress(link: number, cidr: string): void {
    const address = cidr.split("/")[0]!;
    this.#space.addresses = this.#space.addresses.filter((one) => one.link !== link || one.address !== address);
  }
  routes(): Route[] {
    return this.#space.routes;
  }
  replaceRoute(route: Partial<Route> & { destination: string }): void {
    this.deleteRoute(route);
    this.#space.routes.push({ family: parseCidr(route.destination).family, link: 0, table: 254, ...route });
  }
  deleteRoute(route: Partial<Route> & { destination: string }): void {
    this.#space.routes = this.#space.routes.filter((one) => one.destination !== route.destination);
  }
  replaceNeighbour(neighbour: Neighbour): void {
    this.deleteNeighbour(neighbour);
    this.#space.neighbours.push(neighbour);
  }
  deleteNeighbour(neighbour: Neighbour): void {
    const same = (one: Neighbour) => one.macAddress === neighbour.macAddress && one.address === neighbour.address;
    this.#space.neighbours = this.#space.neighbours.filter((one) => !same(one));
  }
}
