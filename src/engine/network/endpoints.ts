import { failedPrecondition, kernelName, permissionDenied, randomHex, type InstanceContext } from "../../base/index.ts";
import { macFor, macForAddress, type NetworkKernel } from "./kernel.ts";
import { gatewayMode } from "./options.ts";
import { servesNames, type NetworkRegistry } from "./registry.ts";
import { parseSubnet } from "./subnet.ts";
import type { Endpoint, EndpointSpec, Network, Sandbox, SandboxSpec } from "./types.ts";

/** Makes and removes a sandbox's interfaces: addresses from the registry, links in the kernel. */
export class Endpoints {
  readonly #ctx: InstanceContext;
  readonly #registry: NetworkRegistry;
  readonly #kernel: NetworkKernel;

  constructor(ctx: InstanceContext, registry: NetworkRegistry, kernel: NetworkKernel) {
    this.#ctx = ctx;
    this.#registry = registry;
    this.#kernel = kernel;
  }

  /** Throws failedPrecondition, conflict, invalidArgument and resourceExhausted, having taken nothing. */
  add(sandbox: Sandbox, network: Network, spec: EndpointSpec): Endpoint {
    if (network.template) throw permissionDenied("cannot create endpoint on configuration-only network");
    const bare = bareEndpoint(randomHex(this.#ctx.random, 32), sandbox.spec, network, spec);
    if (network.predefined && (spec.ipv4Address || spec.ipv6Address)) {
      throw failedPrecondition("user specified IP address is supported on user defined networks only");
    }
    if (network.driver === "host" || network.driver === "null" || !sandbox.netnsPath) return bare;
    const { ipv4, ipv6, pool4, pool6 } = this.#registry.allocate(network, spec);
    try {
      const endpoint: Endpoint = {
        ...bare,
        interfaceName: freeInterfaceName(sandbox),
        hostInterfaceName: kernelName(this.#ctx.instance, `v${bare.endpointId.slice(0, 5)}`),
        macAddress: spec.macAddress || (ipv4 ? macForAddress(ipv4) : macFor(bare.endpointId)),
        ipv4Address: ipv4,
        ipv4PrefixLength: pool4 ? parseSubnet(pool4.subnet).prefixLength : 0,
        ipv4Gateway: pool4 && !network.internal ? pool4.gateway : "",
        ipv6Address: ipv6,
        ipv6PrefixLength: pool6 ? parseSubnet(pool6.subnet).prefixLength : 0,
        ipv6Gateway: pool6 && !network.internal ? pool6.gateway : "",
        ...(gatewayMode(network, 4) === "routed" && { routed4: true }),
        ...(gatewayMode(network, 6) === "routed" && { routed6: true }),
      };
      this.#kernel.attach({ network, endpoint, netnsPath: sandbox.netnsPath });
      return endpoint;
    } catch (error) {
      this.#registry.release(network.id, [ipv4, ipv6]);
      throw error;
    }
  }

  /** `dying`: the sandbox goes as a whole, so the kernel removes the links in its own time. */
  remove(sandbox: Sandbox, endpoint: Endpoint, dying = false): void {
    const network = this.#registry.networks.get(endpoint.networkId);
    if (network && endpoint.interfaceName) {
      const attachment = { network, endpoint, netnsPath: sandbox.netnsPath };
      if (dying) this.#kernel.silence(attachment);
      else this.#kernel.detach(attachment);
    }
    this.#registry.release(endpoint.networkId, [endpoint.ipv4Address, endpoint.ipv6Address]);
  }
}

function bareEndpoint(endpointId: string, sandbox: SandboxSpec, network: Network, spec: EndpointSpec): Endpoint {
  return {
    networkId: network.id,
    networkName: network.name,
    endpointId,
    spec,
    interfaceName: "",
    hostInterfaceName: "",
    macAddress: "",
    ipv4Address: "",
    ipv4PrefixLength: 0,
    ipv4Gateway: "",
    ipv6Address: "",
    ipv6PrefixLength: 0,
    ipv6Gateway: "",
    dnsNames: dnsNames(sandbox, network, spec),
  };
}

function freeInterfaceName(sandbox: Sandbox): string {
  const taken = new Set(sandbox.endpoints.map((endpoint) => endpoint.interfaceName));
  let number = 0;
  while (taken.has(`eth${number}`)) number++;
  return `eth${number}`;
}

/** Docker's names of an endpoint: the container's, the aliases, the short id, the host name. */
export function dnsNames(sandbox: SandboxSpec, network: Network, endpoint: EndpointSpec): string[] {
  if (!servesNames(network)) return [];
  return [
    ...new Set([sandbox.name, ...(endpoint.aliases ?? []), sandbox.id.slice(0, 12), sandbox.hostname].filter(Boolean)),
  ];
}
