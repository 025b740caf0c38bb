import { conflict, invalidArgument, resourceExhausted } from "../../base/index.ts";
import {
  addressNumber,
  contains,
  numberAddress,
  overlaps,
  parseSubnet,
  subnetText,
  within,
  type Subnet,
} from "./subnet.ts";
import type { IpamPool, ResolvedPool } from "./types.ts";

/**
 * Default pools, in Docker's order: 172.17 to 172.31 (/16 each), then 192.168 in /20s.
 * https://docs.docker.com/engine/network/#subnet-allocation
 */
function* defaultPools4(): Generator<string> {
  for (let second = 17; second <= 31; second++) yield `172.${second}.0.0/16`;
  for (let third = 0; third < 256; third += 16) yield `192.168.${third}.0/20`;
}

/** Unique local addresses (RFC 4193): 40 bits from the network's own id, so that they clash with nobody's. */
function defaultPool6(id: string): string {
  return `fd${id.slice(0, 2)}:${id.slice(2, 6)}:${id.slice(6, 10)}::/64`;
}

/** A range to cut pools from: as Docker's `default-address-pools`. */
export interface AddressPool {
  readonly base: string;
  /** Prefix length of each network's pool. */
  readonly size: number;
}

/** Networks tried of one range at most; beyond them lies nobody's intention. */
const MAX_CUTS = 65_536;

/** The pools of a range, one after the other. Throws invalidArgument for a size that the base has no room for. */
export function* cutPools({ base, size }: AddressPool): Generator<string> {
  const range = parseSubnet(base);
  const bits = range.family === 4 ? 32 : 128;
  if (!Number.isInteger(size) || size < range.prefixLength || size > bits) {
    throw invalidArgument(`default-address-pools: networks of size ${size} do not fit into ${base}`);
  }
  const step = 1n << BigInt(bits - size);
  let left = MAX_CUTS;
  for (let first = range.first; first <= range.last && left > 0; first += step, left--)
    yield `${numberAddress(first, range.family)}/${size}`;
}

function* configuredPools(family: 4 | 6, configured: readonly AddressPool[]): Generator<string> {
  for (const pool of configured) if (parseSubnet(pool.base).family === family) yield* cutPools(pool);
}

/** The first default pool that touches none of `taken` (routes and addresses of the host, other networks). Throws resourceExhausted. */
export function choosePool(
  family: 4 | 6,
  id: string,
  taken: readonly Subnet[],
  configured: readonly AddressPool[] = [],
): string {
  const own = configured.filter((pool) => parseSubnet(pool.base).family === family);
  const candidates =
    own.length > 0 ? configuredPools(family, own) : family === 4 ? defaultPools4() : [defaultPool6(id)];
  for (const pool of candidates) {
    const subnet = parseSubnet(pool);
    if (!taken.some((other) => overlaps(subnet, other))) return pool;
  }
  throw resourceExhausted("all predefined address pools have been fully subnetted", {
    hint: "name a subnet with --subnet, or remove unused networks with `docker network prune`",
  });
}

/** Checks a pool as asked for and fills in what was left out. `taken` are pools of other networks of ours. Throws invalidArgument, conflict. */
export function resolvePool(pool: IpamPool, subnetText_: string, taken: readonly Subnet[]): ResolvedPool {
  const subnet = parseSubnet(subnetText_);
  const inside = (what: string, address: string) => {
    if (!contains(subnet, address)) throw invalidArgument(`no matching subnet for ${what} ${address}`);
    return address;
  };
  if (subnet.last - subnet.first < 3n && subnet.prefixLength !== (subnet.family === 4 ? 31 : 127)) {
    throw invalidArgument(`subnet ${subnetText(subnet)} is too small for a gateway and a container`);
  }
  const clash = taken.find((other) => overlaps(subnet, other));
  if (clash) {
    throw conflict(
      `Pool overlaps with other one on this address space: ${subnetText(subnet)} and ${subnetText(clash)}`,
    );
  }
  const range = pool.ipRange === undefined ? undefined : parseSubnet(pool.ipRange);
  if (range && !within(subnet, range)) {
    throw invalidArgument(`ip-range ${pool.ipRange} is not within the subnet ${subnetText(subnet)}`);
  }
  for (const address of Object.values(pool.auxiliaryAddresses ?? {})) inside("aux-address", address);
  const gateway = pool.gateway ? inside("gateway", pool.gateway) : firstGateway(subnet, range);
  return {
    family: subnet.family,
    subnet: subnetText(subnet),
    gateway,
    ...(range && { ipRange: subnetText(range) }),
    ...(pool.auxiliaryAddresses && { auxiliaryAddresses: pool.auxiliaryAddresses }),
  };
}

/** Docker takes the first usable address of the range, not of the subnet, when there is a range. */
function firstGateway(subnet: Subnet, range: Subnet | undefined): string {
  const start = range && range.first > subnet.first ? range.first : subnet.first + 1n;
  return numberAddress(start, subnet.family);
}

/** Gives out the lowest free address of one pool. */
export class AddressAllocator {
  readonly pool: ResolvedPool;
  readonly #subnet: Subnet;
  readonly #range: Subnet;
  readonly #taken = new Set<bigint>();
  /** No address below it is free. */
  #lowest: bigint;

  constructor(pool: ResolvedPool) {
    this.pool = pool;
    this.#subnet = parseSubnet(pool.subnet);
    this.#range = pool.ipRange === undefined ? this.#subnet : parseSubnet(pool.ipRange);
    this.#lowest = this.#range.first;
    for (const address of [pool.gateway, ...Object.values(pool.auxiliaryAddresses ?? {})])
      this.#taken.add(addressNumber(address));
    // The network's own address and, for IPv4, the broadcast address are nobody's.
    if (this.#subnet.last - this.#subnet.first > 1n) {
      this.#taken.add(this.#subnet.first);
      if (pool.family === 4) this.#taken.add(this.#subnet.last);
    }
  }

  get prefixLength(): number {
    return this.#subnet.prefixLength;
  }

  covers(address: string): boolean {
    return contains(this.#subnet, address);
  }

  /** `wanted` may be any free address of the subnet. Throws conflict, invalidArgument, resourceExhausted. */
  allocate(wanted?: string): string {
    if (wanted !== undefined) return this.#claim(wanted);
    let candidate = this.#lowest;
    while (this.#taken.has(candidate)) candidate++;
    if (candidate > this.#range.last) {
      throw resourceExhausted(
        `no available IPv${this.pool.family} addresses on this network's address pools: ${this.pool.subnet}`,
      );
    }
    this.#taken.add(candidate);
    this.#lowest = candidate + 1n;
    return numberAddress(candidate, this.pool.family);
  }

  #claim(wanted: string): string {
    if (!contains(this.#subnet, wanted)) {
      throw invalidArgument(
        `invalid config for network: no configured subnet or ip-range contains the IP address ${wanted}`,
      );
    }
    const value = addressNumber(wanted);
    if (this.#taken.has(value)) throw conflict(`Address already in use: ${wanted}`);
    this.#taken.add(value);
    return numberAddress(value, this.pool.family);
  }

  release(address: string): void {
    if (!contains(this.#subnet, address) || address === this.pool.gateway) return;
    const value = addressNumber(address);
    this.#taken.delete(value);
    if (value < this.#lowest && value >= this.#range.first) this.#lowest = value;
  }
}
