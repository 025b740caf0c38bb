import { LinuxConntrack, type ConntrackHost } from "../conntrack/index.ts";
import { LinuxNetlinkHost, type NetlinkHost } from "../netlink/index.ts";
import { LinuxNetns, type NetnsHost } from "../netns/index.ts";
import { LinuxNft, type NftHost } from "../nft/index.ts";
import { LinuxSockets, type SocketHost } from "../socket/index.ts";

/** The tools for one network namespace. */
export interface NetworkHosts {
  readonly netlink: NetlinkHost;
  readonly netns: NetnsHost;
  readonly nft: NftHost;
  readonly sockets: SocketHost;
  readonly conntrack: ConntrackHost;
}

/** The namespace that this process is in. */
export function networkOfHost(): NetworkHosts {
  return {
    netlink: new LinuxNetlinkHost(),
    netns: new LinuxNetns(),
    nft: new LinuxNft(),
    sockets: new LinuxSockets(),
    conntrack: new LinuxConntrack(),
  };
}

/** The same tools, each of which works in the namespace pinned at `pin` (see `NetnsHost`) unless it is used inside a further one. */
export function networkWithin(pin: string, own: NetworkHosts = networkOfHost()): NetworkHosts {
  let inside = 0;
  /** What is done within `netns.enter` is meant for that namespace. */
  const here = <T>(task: () => T): T => (inside > 0 ? task() : own.netns.enter(pin, task));
  const nested = <T>(task: () => T): T => {
    inside++;
    try {
      return task();
    } finally {
      inside--;
    }
  };
  return {
    netlink: { open: () => here(() => own.netlink.open()) },
    netns: {
      create: (path, setup) => own.netns.create(path, setup && (() => nested(setup))),
      enter: (path, task) => own.netns.enter(path, () => nested(task)),
      open: (path) => own.netns.open(path),
      close: (fd) => own.netns.close(fd),
      exists: (path) => own.netns.exists(path),
      remove: (path) => own.netns.remove(path),
      sysctl: (name, value, optional) => here(() => own.netns.sysctl(name, value, optional)),
    },
    nft: {
      // The program is started inside; what is waited for is its end.
      load: (ruleset, signal) => here(() => [own.nft.load(ruleset, signal)])[0]!,
      change: (family, table, changes) => here(() => own.nft.change(family, table, changes)),
      tables: (family) => here(() => own.nft.tables(family)),
      deleteTable: (family, table) => here(() => own.nft.deleteTable(family, table)),
    },
    sockets: { bind: (options) => here(() => own.sockets.bind(options)) },
    conntrack: { forget: (family, which) => here(() => own.conntrack.forget(family, which)) },
  };
}

/** How a namespace of a container or Pod begins: loopback is up, and IPv6 addresses are usable at once and come from nobody else. Works where it is called. */
export function setUpNamespace(netlink: NetlinkHost, netns: NetnsHost): void {
  using open = netlink.open();
  const loopback = open.link("lo");
  if (loopback) open.changeLink(loopback.index, { up: true });
  netns.sysctl("net/ipv6/conf/default/accept_dad", 0, true);
  netns.sysctl("net/ipv6/conf/default/accept_ra", 0, true);
}
