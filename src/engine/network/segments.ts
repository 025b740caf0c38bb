import {
  conflict,
  notFound,
  permissionDenied,
  randomHex,
  type InstanceContext,
  type KeyedMutex,
} from "../../base/index.ts";
import { RecordFolder } from "../records.ts";
import {
  bridgeRules,
  defineNetwork,
  definePredefined,
  defineTemplate,
  MTU_OPTION,
  poolSubnets,
  type BridgeSettings,
  type Surroundings,
} from "./define.ts";
import type { AddressPool } from "./ipam.ts";
import type { NetworkKernel } from "./kernel.ts";
import { checkSpec, checkTemplate, driverOf, refuseOwnConfiguration } from "./options.ts";
import type { NetworkRegistry } from "./registry.ts";
import { networkElements } from "./ruleset.ts";
import { overlaps, parseSubnet } from "./subnet.ts";
import type { NetworkTable } from "./table.ts";
import type { Network, NetworkSpec } from "./types.ts";

export interface SegmentsOptions {
  readonly ctx: InstanceContext;
  readonly registry: NetworkRegistry;
  readonly kernel: NetworkKernel;
  readonly table: NetworkTable;
  readonly records: RecordFolder<Network>;
  readonly locks: KeyedMutex;
  readonly addressPools: readonly AddressPool[];
  readonly bridge: BridgeSettings;
  readonly publish: (action: string, network: Network) => void;
}

/** The networks themselves: made, brought up and removed, on disk and in the kernel. */
export class Segments {
  readonly #options: SegmentsOptions;

  constructor(options: SegmentsOptions) {
    this.#options = options;
  }

  /** Reads the records; those that must exist always are made where they are missing. `inUse`: networks that running containers are on. */
  load(inUse: ReadonlySet<string>): void {
    const { records, registry } = this.#options;
    for (const network of records.readAll()) registry.addNetwork(network);
    this.#ensurePredefined(inUse);
  }
  bringAllUp(): void {
    for (const network of this.#options.registry.networks.values()) this.#bringUp(network);
  }

  async create(asked: NetworkSpec): Promise<Network> {
    const { locks, publish, records, registry } = this.#options;
    return locks.run("networks", () => {
      const network = asked.configOnly ? this.#template(asked) : this.#define(this.#configured(asked));
      this.#bringUp(network);
      records.write(network.id, network);
      registry.addNetwork(network);
      publish("create", network);
      return network;
    });
  }

  #template(spec: NetworkSpec): Network {
    checkTemplate(spec);
    this.#options.registry.refuseTakenName(spec.name);
    return defineTemplate(spec, this.#surroundings());
  }

  #define(spec: NetworkSpec): Network {
    const driver = driverOf(spec);
    checkSpec(spec, driver);
    this.#options.registry.refuseTakenName(spec.name);
    const defined = defineNetwork(spec, driver, this.#surroundings());
    return { ...defined, foreignLink: driver === "bridge" && this.#claimLink(defined.linkName) };
  }

  /** What is asked for, with what its configuration network says. */
  #configured(spec: NetworkSpec): NetworkSpec {
    if (!spec.configFrom) return spec;
    refuseOwnConfiguration(spec);
    const template = this.#options.registry.byName(spec.configFrom)?.template;
    if (!template) throw notFound(`configuration network ${JSON.stringify(spec.configFrom)} does not exist`);
    const { enableIPv4, enableIPv6, ipam, options, labels } = template;
    return { ...spec, enableIPv4, enableIPv6, ipam, options, labels };
  }

  /** True when a link that a network is to use is there already. Throws conflict for one of another network. */
  #claimLink(name: string): boolean {
    const { kernel, registry } = this.#options;
    const other = [...registry.networks.values()].find((network) => network.linkName === name);
    if (other) throw conflict(`cannot create network: bridge ${name} is used by network ${other.name}`);
    return kernel.hasLink(name);
  }

  async remove(ref: string): Promise<void> {
    const { locks, registry } = this.#options;
    await locks.run("networks", () => {
      const network = registry.find(ref);
      if (network.predefined) throw permissionDenied(`${network.name} is a pre-defined network and cannot be removed`);
      const endpoints = registry.endpointsOn(network.id);
      if (endpoints.length > 0) {
        const names = endpoints.map(
          ({ sandbox }) => `name:"${sandbox.spec.name}" id:"${sandbox.spec.id.slice(0, 12)}"`,
        );
        throw permissionDenied(
          `error while removing network: network ${network.name} id ${network.id} has active endpoints (${names.join(", ")})`,
          { hint: "disconnect or stop those containers first" },
        );
      }
      const user = [...registry.networks.values()].find(
        (other) => network.template && other.configFrom === network.name,
      );
      if (user)
        throw permissionDenied(
          `error while removing network: configuration network ${JSON.stringify(network.name)} is in use by ${user.name}`,
        );
      this.#remove(network);
    });
  }

  #remove(network: Network): void {
    const { kernel, publish, records, registry, table } = this.#options;
    if (network.driver === "bridge") {
      table.change(networkElements("delete", network));
      if (!network.foreignLink) kernel.deleteLink(network.linkName);
    } else if (
      (network.driver === "macvlan" || network.driver === "ipvlan") &&
      network.options["parent"] !== network.linkName
    ) {
      kernel.deleteLink(network.linkName);
    }
    registry.removeNetwork(network.id);
    records.remove(network.id);
    publish("destroy", network);
  }

  #bringUp(network: Network): void {
    if (network.driver !== "bridge") return;
    const { kernel, table } = this.#options;
    if (network.enableIPv6) kernel.enableForwarding(6);
    kernel.ensureBridge(network);
    table.change(networkElements("add", network));
  }

  #surroundings(): Surroundings {
    const { addressPools, bridge, ctx, kernel, registry } = this.#options;
    const networks = [...registry.networks.values()];
    const ownLinks = new Set(networks.map((network) => network.linkName));
    return {
      instance: ctx.instance,
      addressPools,
      bridge,
      id: randomHex(ctx.random, 32),
      nowMs: ctx.clock.nowMs(),
      ours: poolSubnets(networks),
      host: () => kernel.takenSubnets(ownLinks),
    };
  }

  #ensurePredefined(inUse: ReadonlySet<string>): void {
    const { kernel, records, registry } = this.#options;
    for (const name of ["bridge", "host", "none"] as const) {
      const found = registry.byName(name);
      if (found && !this.#poolIsTaken(found) && !this.#isOutdated(found, inUse)) continue;
      if (found) {
        if (found.linkName) kernel.deleteLink(found.linkName);
        registry.removeNetwork(found.id);
        records.remove(found.id);
      }
      const network = definePredefined(name, this.#surroundings());
      records.write(network.id, network);
      registry.addNetwork(network);
    }
  }

  /** The configuration says something else about the default bridge now; while containers run on it, it stays. */
  #isOutdated(network: Network, inUse: ReadonlySet<string>): boolean {
    if (network.driver !== "bridge") return false;
    const { bridge, ctx } = this.#options;
    const [pool] = network.pools;
    const address = pool && `${pool.gateway}/${parseSubnet(pool.subnet).prefixLength}`;
    const mtu = network.options[MTU_OPTION];
    const same =
      (bridge.address === undefined || bridge.address === address) &&
      (bridge.mtu === undefined || String(bridge.mtu) === mtu) &&
      Object.entries(bridgeRules(bridge)).every(([option, value]) => network.options[option] === value);
    if (same) return false;
    if (!inUse.has(network.id)) return true;
    ctx.log.warn("the default bridge keeps its settings while containers run on it", { address, mtu });
    return false;
  }

  /** After a reboot somebody else (another instance, a VPN) may have the default bridge's pool; then it gets another one. */
  #poolIsTaken(network: Network): boolean {
    const { kernel } = this.#options;
    if (network.driver !== "bridge" || kernel.hasLink(network.linkName)) return false;
    const taken = kernel.takenSubnets();
    return poolSubnets([network]).some((subnet) => taken.some((other) => overlaps(subnet, other)));
  }
}
