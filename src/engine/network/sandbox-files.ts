import { hostsFile, parseResolvConf, resolvConfFile, type ResolvConf } from "./files.ts";
import { servesNames, type NetworkRegistry } from "./registry.ts";
import type { Endpoint, Sandbox, SandboxSpec } from "./types.ts";

/** What is on disk of a sandbox: all that is not computed. */
export type SandboxRecord = Pick<Sandbox, "spec" | "netnsPath" | "endpoints" | "publishedPorts">;

export interface SandboxFilesOptions {
  /** Text of the host's resolv.conf. */
  readonly hostResolvConf: () => string;
  /** From the daemon's configuration; empty: as the host has them. */
  readonly dns: readonly string[];
  readonly dnsSearch: readonly string[];
  readonly dnsOptions: readonly string[];
}

/** The contents of a sandbox's /etc/hosts and /etc/resolv.conf, which follow its networks. */
export class SandboxFiles {
  readonly #registry: NetworkRegistry;
  readonly #options: SandboxFilesOptions;

  constructor(registry: NetworkRegistry, options: SandboxFilesOptions) {
    this.#registry = registry;
    this.#options = options;
  }

  complete(record: SandboxRecord): Sandbox {
    const { spec, netnsPath, endpoints, publishedPorts } = record;
    const embedded = netnsPath !== "" && endpoints.some((endpoint) => this.isNamed(endpoint));
    return {
      spec,
      netnsPath,
      endpoints,
      publishedPorts,
      hostsFile: hostsFile(spec, endpoints, this.#hostGateway(endpoints), this.#links(endpoints)),
      resolvConf: resolvConfFile(spec, this.resolvConf(), embedded),
    };
  }

  /** Whether names are served on the endpoint's network. */
  isNamed(endpoint: Endpoint): boolean {
    const network = this.#registry.networks.get(endpoint.networkId);
    return network !== undefined && servesNames(network);
  }

  /** The host's, with what the daemon's configuration puts in its place. */
  resolvConf(): ResolvConf {
    const { dns, dnsSearch, dnsOptions } = this.#options;
    const host = parseResolvConf(this.#options.hostResolvConf());
    return {
      servers: dns.length > 0 ? dns : host.servers,
      search: dnsSearch.length > 0 ? dnsSearch : host.search,
      options: dnsOptions.length > 0 ? dnsOptions : host.options,
    };
  }

  /** `--link` on the default bridge writes the other container's address into the hosts file. */
  #links(endpoints: readonly Endpoint[]): { address: string; names: string[] }[] {
    return endpoints.flatMap((endpoint) => {
      if (this.isNamed(endpoint)) return [];
      return (endpoint.spec.links ?? []).flatMap((link) => {
        const [target = "", alias = target] = link.replace(/^\//, "").split(":");
        const other = this.#registry
          .endpointsOn(endpoint.networkId)
          .find(({ sandbox }) => sandbox.spec.name === target || sandbox.spec.id.startsWith(target));
        return other ? [{ address: other.endpoint.ipv4Address, names: linkNames(alias, other.sandbox.spec) }] : [];
      });
    });
  }

  #hostGateway(endpoints: readonly Endpoint[]): string {
    const bridge = this.#registry.byName("bridge")?.pools[0]?.gateway;
    return bridge ?? endpoints[0]?.ipv4Gateway ?? "";
  }
}

function linkNames(alias: string, { hostname, name }: SandboxSpec): string[] {
  return [...new Set([alias, hostname, name])];
}
