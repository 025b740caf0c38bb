import { alreadyExists, conflict, invalidArgument, notFound } from "../../base/index.ts";
import { AddressAllocator } from "./ipam.ts";
import type { NameLookup } from "./names.ts";
import type { Endpoint, EndpointSpec, Network, ResolvedPool, Sandbox } from "./types.ts";

/** What is known in memory: networks with their address allocators, sandboxes with their endpoints. No I/O. */
export class NetworkRegistry {
  readonly networks = new Map<string, Network>();
  readonly sandboxes = new Map<string, Sandbox>();
  readonly #allocators = new Map<string, AddressAllocator[]>();

  addNetwork(network: Network): void {
    this.networks.set(network.id, network);
    this.#allocators.set(
      network.id,
      network.pools.map((pool) => new AddressAllocator(pool)),
    );
  }

  removeNetwork(id: string): void {
    this.networks.delete(id);
    this.#allocators.delete(id);
  }

  byName(name: string): Network | undefined {
    for (const network of this.networks.values()) if (network.name === name) return network;
    return undefined;
  }

  /** As Docker: a full id, then a name, then an unambiguous prefix of an id. */
  find(ref: string): Network {
    const exact = this.networks.get(ref) ?? this.byName(ref === "default" ? "bridge" : ref);
    if (exact) return exact;
    const matches = ref === "" ? [] : [...this.networks.values()].filter((network) => network.id.startsWith(ref));
    if (matches.length > 1)
      throw invalidArgument(`network ${ref} is ambiguous (${matches.length} matches found based on ID prefix)`);
    if (!matches[0]) throw notFound(`network ${ref} not found`);
    return matches[0];
  }

  sandbox(id: string): Sandbox {
    const sandbox = this.sandboxes.get(id);
    if (!sandbox) throw notFound(`network sandbox ${id} not found`);
    return sandbox;
  }

  endpoint(sandbox: Sandbox, networkId: string): Endpoint | undefined {
    return sandbox.endpoints.find((endpoint) => endpoint.networkId === networkId);
  }

  endpointsOn(networkId: string): { sandbox: Sandbox; endpoint: Endpoint }[] {
    return [...this.sandboxes.values()].flatMap((sandbox) => {
      const endpoint = this.endpoint(sandbox, networkId);
      return endpoint ? [{ sandbox, endpoint }] : [];
    });
  }

  /** An address per family the network has. Throws conflict, invalidArgument and resourceExhausted, having taken nothing. */
  allocate(
    network: Network,
    spec: EndpointSpec,
  ): { pool4?: ResolvedPool; ipv4: string; pool6?: ResolvedPool; ipv6: string } {
    const allocators = this.#allocators.get(network.id) ?? [];
    const four = pick(allocators, 4, spec.ipv4Address);
    const six = pick(allocators, 6, spec.ipv6Address);
    const ipv4 = four?.allocate(spec.ipv4Address || undefined) ?? "";
    try {
      const ipv6 = six?.allocate(spec.ipv6Address || undefined) ?? "";
      return { ipv4, ipv6, ...(four && { pool4: four.pool }), ...(six && { pool6: six.pool }) };
    } catch (error) {
      if (ipv4) four?.release(ipv4);
      throw error;
    }
  }

  /** Takes the addresses of an endpoint that is there already (after a restart). */
  claim(endpoint: Endpoint): void {
    for (const allocator of this.#allocators.get(endpoint.networkId) ?? []) {
      const address = allocator.pool.family === 4 ? endpoint.ipv4Address : endpoint.ipv6Address;
      if (!address) continue;
      allocator.release(address);
      allocator.allocate(address);
    }
  }

  release(networkId: string, addresses: readonly string[]): void {
    for (const allocator of this.#allocators.get(networkId) ?? [])
      for (const address of addresses) if (address) allocator.release(address);
  }

  refuseTakenName(name: string): void {
    if (this.byName(name)) throw conflict(`network with name ${name} already exists`);
  }

  refuseSecondEndpoint(sandbox: Sandbox, network: Network): void {
    if (this.endpoint(sandbox, network.id)) {
      throw alreadyExists(`endpoint with name ${sandbox.spec.name} already exists in network ${network.name}`);
    }
  }
}

/** The pool that contains the wanted address, else the first of the family. */
function pick(
  allocators: readonly AddressAllocator[],
  family: 4 | 6,
  wanted: string | undefined,
): AddressAllocator | undefined {
  const ours = allocators.filter((allocator) => allocator.pool.family === family);
  return (wanted ? ours.find((allocator) => allocator.covers(wanted)) : undefined) ?? ours[0];
}

/** Names on the default bridge and on none and host are not served (Docker's rule). */
export function servesNames(network: Network): boolean {
  return !network.predefined;
}

/** What names mean, read off the registry. `servers` is injected: it depends on the host's resolv.conf. */
export function registryLookup(
  registry: NetworkRegistry,
  servers: (sandbox: Sandbox) => readonly string[],
): NameLookup {
  const networksOf = (sandbox: Sandbox) =>
    sandbox.endpoints.flatMap((endpoint) => {
      const network = registry.networks.get(endpoint.networkId);
      return network && servesNames(network) ? [{ network, endpoint }] : [];
    });
  return {
    servers: (id) => servers(registry.sandbox(id)),
    isExternal: (id) =>
      registry.sandbox(id).endpoints.some((endpoint) => !registry.networks.get(endpoint.networkId)?.internal),
    endpointsByName: (id, name) => {
      const sandbox = registry.sandboxes.get(id);
      if (!sandbox) return undefined;
      const found = networksOf(sandbox).flatMap(({ network, endpoint }) => {
        const suffix = `.${network.name.toLowerCase()}`;
        const plain = name.endsWith(suffix) ? name.slice(0, -suffix.length) : name;
        const wanted = [plain, ...linkTargets(endpoint, plain)];
        return registry
          .endpointsOn(network.id)
          .filter((other) => other.endpoint.dnsNames.some((dnsName) => wanted.includes(dnsName.toLowerCase())))
          .map((other) => other.endpoint);
      });
      return found.length > 0 ? found : undefined;
    },
    nameByAddress: (id, address) => {
      const sandbox = registry.sandboxes.get(id);
      for (const { network } of sandbox ? networksOf(sandbox) : []) {
        const owner = registry
          .endpointsOn(network.id)
          .find(({ endpoint }) => endpoint.ipv4Address === address || endpoint.ipv6Address === address);
        if (owner) return `${owner.sandbox.spec.name}.${network.name}`;
      }
      return undefined;
    },
  };
}

/** `--link db:database` on a user-defined network: `database` means `db`, for this container alone. */
function linkTargets(endpoint: Endpoint, name: string): string[] {
  return (endpoint.spec.links ?? []).flatMap((link) => {
    const [target = "", alias = target] = link.split(":");
    return alias.toLowerCase() === name ? [target.replace(/^\//, "").toLowerCase()] : [];
  });
}
