/**
 * What the rest of the engine needs to know about networks.
 *
 * Vocabulary: a *network* is a segment that containers can be attached to (a bridge, macvlan, the host's own stack, or nothing). A *sandbox* is one
 * network stack (a pinned network namespace) that belongs to one container, or to one Pod. An *endpoint* is a sandbox's interface on a network.
 *
 * Lifecycle: `createSandbox` → `connect` per network → `publish` → the runtime starts in `netnsPath` → `connect`/`disconnect` at any time →
 * `destroySandbox`. Everything is idempotent by id: a second call with the same id returns what is there. Sandboxes outlive the daemon (namespace
 * pins, links and rules are in the kernel); `recover` finds them again and removes those that nobody claims.
 */
export type NetworkDriver = "bridge" | "host" | "null" | "macvlan" | "ipvlan";

export interface IpamPool {
  /** CIDR. Left out: chosen from the default pools, clear of the host's routes. */
  readonly subnet?: string;
  /** CIDR within the subnet from which addresses are given out. */
  readonly ipRange?: string;
  readonly gateway?: string;
  /** Addresses never given out, by name (`com.docker.network…`, host names of routers). */
  readonly auxiliaryAddresses?: Readonly<Record<string, string>>;
}

export interface NetworkSpec {
  readonly name: string;
  /** Default `bridge`. */
  readonly driver?: string;
  readonly internal?: boolean;
  readonly attachable?: boolean;
  readonly enableIPv4?: boolean;
  readonly enableIPv6?: boolean;
  readonly ipam?: {
    readonly driver?: string;
    readonly config?: readonly IpamPool[];
    readonly options?: Readonly<Record<string, string>>;
  };
  readonly options?: Readonly<Record<string, string>>;
  readonly labels?: Readonly<Record<string, string>>;
  /** No network, but what others may be made from: `--config-only`. */
  readonly configOnly?: boolean;
  /** The name of such a one, whose addresses, options and labels this network takes. */
  readonly configFrom?: string;
}

/** A network as it is kept on disk. */
export interface Network {
  /** 64 hex digits. */
  readonly id: string;
  readonly name: string;
  readonly createdMs: number;
  readonly driver: NetworkDriver;
  readonly internal: boolean;
  readonly attachable: boolean;
  readonly enableIPv4: boolean;
  readonly enableIPv6: boolean;
  /** Resolved: each pool has subnet and gateway. Empty for host and none. */
  readonly pools: readonly ResolvedPool[];
  /** What the user asked for, as inspect shows it. */
  readonly ipamDriver: string;
  readonly ipamOptions: Readonly<Record<string, string>>;
  readonly options: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
  /** The bridge's link name (macvlan: the parent's); empty for host and none. */
  readonly linkName: string;
  /** The bridge was there before: it is used, and stays when the network goes. */
  readonly foreignLink?: boolean;
  /** What networks made from this one take; it has nothing in the kernel itself, and its driver is `null`. */
  readonly template?: NetworkSpec;
  readonly configFrom?: string;
  /** bridge, host and none, which exist always and cannot be removed. */
  readonly predefined: boolean;
}

export interface ResolvedPool {
  readonly family: 4 | 6;
  readonly subnet: string;
  readonly ipRange?: string;
  readonly gateway: string;
  readonly auxiliaryAddresses?: Readonly<Record<string, string>>;
}

export interface SandboxSpec {
  /** The owner's id (container or Pod sandbox id). */
  readonly id: string;
  /** The container's name without `/`: resolves on user-defined networks. */
  readonly name: string;
  readonly hostname: string;
  readonly domainname?: string;
  readonly dns?: readonly string[];
  readonly dnsSearch?: readonly string[];
  readonly dnsOptions?: readonly string[];
  /** `name:address` as in `--add-host`; the address may be `host-gateway`. */
  readonly extraHosts?: readonly string[];
  /** True for a stack of somebody else: `host` (no namespace is made, `netnsPath` is empty). */
  readonly host?: boolean;
  /** The namespace is pinned for it already, by somebody who made it in a user namespace (host/userns). */
  readonly pinned?: boolean;
}

/** A sandbox's wish for an interface on a network (Docker's EndpointSettings, less what is output). */
export interface EndpointSpec {
  readonly aliases?: readonly string[];
  readonly links?: readonly string[];
  readonly ipv4Address?: string;
  readonly ipv6Address?: string;
  readonly macAddress?: string;
  readonly linkLocalAddresses?: readonly string[];
  readonly driverOpts?: Readonly<Record<string, string>>;
  /** The endpoint with the highest priority gives the default route. */
  readonly gwPriority?: number;
}

export interface Endpoint {
  readonly networkId: string;
  readonly networkName: string;
  /** 64 hex digits. */
  readonly endpointId: string;
  readonly spec: EndpointSpec;
  /** Name in the sandbox (`eth0`), and of the host's end; empty for host and none. */
  readonly interfaceName: string;
  readonly hostInterfaceName: string;
  readonly macAddress: string;
  /** Empty where the network has no such family. */
  readonly ipv4Address: string;
  readonly ipv4PrefixLength: number;
  readonly ipv4Gateway: string;
  readonly ipv6Address: string;
  readonly ipv6PrefixLength: number;
  readonly ipv6Gateway: string;
  /** The network is routed in that family (gateway_mode). */
  readonly routed4?: boolean;
  readonly routed6?: boolean;
  /** Every name by which others on the network resolve it: container name, aliases, short id. */
  readonly dnsNames: readonly string[];
}

export interface PortBinding {
  readonly containerPort: number;
  readonly protocol: "tcp" | "udp" | "sctp";
  /** Left out or empty: every address of the host, IPv4 and IPv6. */
  readonly hostAddress?: string;
  /** First and last acceptable port; both 0 (or left out): any free ephemeral port. A range of more than one: the first free one. */
  readonly hostPortFirst?: number;
  readonly hostPortLast?: number;
}

export interface PublishedPort {
  readonly containerPort: number;
  readonly protocol: "tcp" | "udp" | "sctp";
  /** `0.0.0.0`, `::` or the address asked for. */
  readonly hostAddress: string;
  readonly hostPort: number;
}

export interface Sandbox {
  readonly spec: SandboxSpec;
  /** A bind mount of the namespace, for the OCI spec and setns(2). Empty for `host`. */
  readonly netnsPath: string;
  readonly endpoints: readonly Endpoint[];
  readonly publishedPorts: readonly PublishedPort[];
  /** Contents of /etc/hosts, /etc/resolv.conf for the container, as of now. They change with connect and disconnect. */
  readonly hostsFile: string;
  readonly resolvConf: string;
}

export interface NetworkService {
  /** Throws alreadyExists for a name in use, invalidArgument for bad options, conflict when pools overlap. */
  create(spec: NetworkSpec): Promise<Network>;
  /** By id, unambiguous id prefix, or name. Throws notFound. `default` means `bridge`. */
  get(ref: string): Network;
  list(): Network[];
  /** Endpoints on a network with the sandbox they belong to. */
  endpointsOf(networkId: string): { sandbox: Sandbox; endpoint: Endpoint }[];
  /** Throws permissionDenied for a predefined network and failedPrecondition while endpoints are on it. */
  remove(ref: string): Promise<void>;
  /** Removes the networks without endpoints that `accept` takes; `inUse` names network ids that stopped containers refer to. */
  prune(accept: (network: Network) => boolean, inUse?: ReadonlySet<string>): Promise<Network[]>;

  createSandbox(spec: SandboxSpec): Promise<Sandbox>;
  /** Where a sandbox's namespace is pinned, or would be. */
  netnsPath(id: string): string;
  sandbox(id: string): Sandbox | undefined;
  /** `network` is an id or a name. The first call gives `eth0`. Throws alreadyExists when the sandbox is on it already. */
  connect(sandboxId: string, network: string, spec?: EndpointSpec): Promise<Endpoint>;
  /** Resolves when names can be asked for in the sandbox: await it before its first program starts. */
  settled(sandboxId: string): Promise<void>;
  disconnect(sandboxId: string, network: string): Promise<void>;
  /**
   * Makes ports of the sandbox reachable on the host. Replaces what was published before. Throws conflict, with "port is already allocated", for a
   * port in use by anybody, and leaves nothing half done.
   */
  publish(sandboxId: string, bindings: readonly PortBinding[]): Promise<readonly PublishedPort[]>;
  /** Renames the container for DNS. */
  rename(sandboxId: string, name: string): void;
  /** Removes links, addresses, ports, names and the namespace. No error when it is gone already. */
  destroySandbox(id: string): Promise<void>;

  /** Called once after start, with the ids of sandboxes whose owners are still there; removes all others. */
  recover(keep: ReadonlySet<string>): Promise<void>;
  /** What the user should know about this machine's network: firewalls of others that stand in the way. */
  warnings(): Promise<string[]>;
  /** Leaves kernel state in place (containers run on). */
  close(): Promise<void>;
  /** `berth reset` and `berth down --all`: removes everything of this instance from the kernel. */
  destroyAll(): Promise<void>;
}
