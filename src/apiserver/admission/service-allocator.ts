import { canonicalIp, IpRange, randomInt, type IpFamily, type Random } from "../../base/index.ts";
import type { k8s } from "../../api/index.ts";
import { resources } from "../../client/index.ts";
import type { ClusterState } from "../cluster-state.ts";
import type { Admission, AdmissionRequest } from "../machinery/pipeline.ts";
import { invalidError, statusError } from "../machinery/status.ts";
import { keepAllocated } from "../resources/core/service.ts";
import { isResource } from "./plugin.ts";
import { settleFamilies } from "./service-families.ts";

export interface ServiceRange {
  /** `10.96.0.0/16`, or one of each family with a comma between, the main one first. */
  readonly cidr: string;
  /** `30000-32767` */
  readonly nodePorts: readonly [first: number, last: number];
}

const attempts = 64;

/**
 * Hands out cluster IPs and node ports. What is taken is told by the Services themselves; this only remembers, between a choice and the
 * Service's being seen, who asked. So nothing can leak: a Service that is never made, or is gone, frees what it had.
 */
export function serviceAllocator(state: ClusterState, random: Random, range: ServiceRange): Admission {
  const addresses = new Claims();
  const ports = new Claims();
  const allocator = new Allocator(state, random, range, addresses, ports);
  return {
    async mutate(request) {
      if (!isResource(request, "", "services") || request.subresource !== "" || request.object === undefined) return;
      if (request.operation !== "CREATE" && request.operation !== "UPDATE") return;
      const service = request.object as k8s.Service;
      if (request.oldObject !== undefined) keepAllocated(service, request.oldObject as k8s.Service);
      await allocator.allocate(request, service);
    },
  };
}

/** Who holds a value since this process began; confirmed against the Services whenever it matters. */
class Claims {
  readonly #owners = new Map<string, string>();

  ownerOf(value: string): string | undefined {
    return this.#owners.get(value);
  }

  take(value: string, owner: string): void {
    this.#owners.set(value, owner);
  }
}

const keyOf = (service: k8s.Service): string =>
  `${service.metadata.namespace}/${service.metadata.name ?? service.metadata.generateName}`;

class Allocator {
  readonly #state: ClusterState;
  readonly #random: Random;
  readonly #range: ServiceRange;
  readonly #ranges: ReadonlyMap<IpFamily, IpRange>;
  readonly #addresses: Claims;
  readonly #ports: Claims;
  #loaded: Promise<void> | undefined;

  constructor(state: ClusterState, random: Random, range: ServiceRange, addresses: Claims, ports: Claims) {
    this.#state = state;
    this.#random = random;
    this.#range = range;
    this.#ranges = new Map(serviceRanges(range.cidr).map((one) => [one.family, one]));
    this.#addresses = addresses;
    this.#ports = ports;
  }

  async allocate(request: AdmissionRequest, service: k8s.Service): Promise<void> {
    await (this.#loaded ??= this.#load());
    const spec = service.spec!;
    const owner = keyOf({ ...service, metadata: { ...service.metadata, namespace: request.namespace } });
    if (spec.type === "ExternalName") {
      for (const field of ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] as const)
        if (spec[field] === "" || field !== "clusterIP") delete spec[field];
      return;
    }
    await this.#allocateAddresses(request, spec, owner);
    await this.#allocatePorts(request, spec, owner);
  }

  async #allocateAddresses(request: AdmissionRequest, spec: k8s.ServiceSpec, owner: string): Promise<void> {
    spec.clusterIP ||= spec.clusterIPs?.[0] ?? "";
    if (spec.clusterIP !== "" && !spec.clusterIPs?.length) spec.clusterIPs = [spec.clusterIP];
    const problem = settleFamilies(spec, (request.oldObject as k8s.Service | undefined)?.spec, [
      ...this.#ranges.keys(),
    ]);
    if (problem) throw refuseField(request, problem.field, problem.value, problem.detail);
    if (spec.clusterIP === "None") {
      spec.clusterIPs = ["None"];
      return;
    }
    const given = spec.clusterIPs ?? [];
    const addresses: string[] = [];
    for (const [index, family] of (spec.ipFamilies as IpFamily[]).entries()) {
      const range = this.#ranges.get(family)!;
      const wanted = given[index];
      if (wanted) await this.#claimAddress(request, range, wanted, owner);
      addresses.push(wanted || (await this.#freeAddress(request, range, owner)));
    }
    spec.clusterIPs = addresses;
    spec.clusterIP = addresses[0]!;
  }

  async #freeAddress(request: AdmissionRequest, range: IpRange, owner: string): Promise<string> {
    const usable = Number(range.usable);
    // The lowest sixteenth is left to those who choose their address themselves, as upstream does.
    const size = Number(range.size);
    const reserved = Math.min(Math.max(16, Math.floor(size / 16)), 256, Math.floor(size / 2));
    for (let attempt = 0; attempt < attempts; attempt++) {
      const address = range.at(reserved + randomInt(this.#random, usable + 1 - reserved));
      if (await this.#isFree(this.#addresses, address, owner, holdsAddress))
        return this.#take(request, this.#addresses, address, owner);
    }
    for (let offset = 1; offset <= usable; offset++) {
      const address = range.at(offset);
      if (this.#addresses.ownerOf(address) === undefined) return this.#take(request, this.#addresses, address, owner);
    }
    throw statusError("internal", { message: "failed to allocate a serviceIP: range is full" });
  }

  async #claimAddress(request: AdmissionRequest, range: IpRange, address: string, owner: string): Promise<void> {
    const offset = range.offsetOf(address);
    const isInside = offset !== undefined && offset > 0n && offset <= range.usable;
    const problem = isInside
      ? (await this.#isFree(this.#addresses, canonicalIp(address), owner, holdsAddress))
        ? undefined
        : "failed to allocate IP " + address + ": provided IP is already allocated"
      : `failed to allocate IP ${address}: the provided network does not match the current range`;
    if (problem === undefined) this.#take(request, this.#addresses, canonicalIp(address), owner);
    else throw refuseField(request, "spec.clusterIPs", [address], problem);
  }

  async #allocatePorts(request: AdmissionRequest, spec: k8s.ServiceSpec, owner: string): Promise<void> {
    const wanted =
      spec.type === "NodePort" || (spec.type === "LoadBalancer" && spec.allocateLoadBalancerNodePorts !== false);
    if (!wanted) {
      // Switching back to ClusterIP gives up ports that the client did not ask for itself.
      if (request.oldObject !== undefined && spec.type === "ClusterIP")
        for (const port of spec.ports ?? []) delete port.nodePort;
      return;
    }
    for (const [index, port] of (spec.ports ?? []).entries()) {
      if (!port.nodePort) port.nodePort = await this.#freePort(request, owner, port.protocol ?? "TCP");
      else await this.#claimPort(request, port, index, owner);
    }
    if (spec.type === "LoadBalancer" && spec.externalTrafficPolicy === "Local" && !spec.healthCheckNodePort)
      spec.healthCheckNodePort = await this.#freePort(request, owner, "TCP");
  }

  async #freePort(request: AdmissionRequest, owner: string, protocol: string): Promise<number> {
    const [first, last] = this.#range.nodePorts;
    const start = randomInt(this.#random, last - first + 1);
    for (let step = 0; step <= last - first; step++) {
      const port = first + ((start + step) % (last - first + 1));
      if (this.#ports.ownerOf(`${port}/${protocol}`) !== undefined) continue;
      this.#take(request, this.#ports, `${port}/${protocol}`, owner);
      return port;
    }
    throw statusError("internal", { message: "failed to allocate a nodePort: range is full" });
  }

  async #claimPort(request: AdmissionRequest, port: k8s.ServicePort, index: number, owner: string): Promise<void> {
    const [first, last] = this.#range.nodePorts;
    const key = `${port.nodePort}/${port.protocol ?? "TCP"}`;
    const inRange = port.nodePort! >= first && port.nodePort! <= last;
    const problem = !inRange
      ? `provided port is not in the valid range. The range of valid ports is ${first}-${last}`
      : (await this.#isFree(this.#ports, key, owner, holdsPort))
        ? undefined
        : "provided port is already allocated";
    if (problem !== undefined) throw refuseField(request, `spec.ports[${index}].nodePort`, port.nodePort, problem);
    this.#take(request, this.#ports, key, owner);
  }

  #take(request: AdmissionRequest, claims: Claims, value: string, owner: string): string {
    if (!request.dryRun) claims.take(value, owner);
    return value;
  }

  /** Free when nobody has it, the asker has it, or who had it is gone or has let it go. */
  async #isFree(
    claims: Claims,
    value: string,
    owner: string,
    holds: (service: k8s.Service, value: string) => boolean,
  ): Promise<boolean> {
    const holder = claims.ownerOf(value);
    if (holder === undefined || holder === owner) return true;
    const [namespace = "", name = ""] = holder.split("/");
    const { items } = await this.#state.client
      .of(resources.services)
      .list({ namespace, fieldSelector: `metadata.name=${name}` });
    return !items.some((service) => holds(service, value));
  }

  async #load(): Promise<void> {
    const { items } = await this.#state.client.of(resources.services).list();
    for (const service of items) {
      const owner = keyOf(service);
      for (const address of addressesOf(service)) this.#addresses.take(address, owner);
      for (const port of service.spec?.ports ?? [])
        if (port.nodePort) this.#ports.take(`${port.nodePort}/${port.protocol ?? "TCP"}`, owner);
      if (service.spec?.healthCheckNodePort) this.#ports.take(`${service.spec.healthCheckNodePort}/TCP`, owner);
    }
  }
}

const addressesOf = ({ spec }: k8s.Service): string[] =>
  (spec?.clusterIPs ?? [spec?.clusterIP ?? ""]).filter((address) => address && address !== "None").map(canonicalIp);
const holdsAddress = (service: k8s.Service, address: string): boolean => addressesOf(service).includes(address);
const holdsPort = ({ spec }: k8s.Service, key: string): boolean =>
  (spec?.ports ?? []).some(({ nodePort, protocol }) => `${nodePort}/${protocol ?? "TCP"}` === key) ||
  `${spec?.healthCheckNodePort}/TCP` === key;

function refuseField(request: AdmissionRequest, field: string, value: unknown, problem: string) {
  const name = request.object?.metadata.name ?? "";
  const detail = `Invalid value: ${JSON.stringify(value)}: ${problem}`;
  return invalidError({ group: "", kind: "Service" }, name, [{ type: "FieldValueInvalid", field, detail }]);
}

/** Of each family at most one, the main one first. Throws invalidArgument. */
function serviceRanges(cidr: string): IpRange[] {
  return cidr.split(",").map((one) => new IpRange(one.trim()));
}

/** The address at an offset of the main range: 1 is the `kubernetes` Service's, 10 by custom DNS's. */
export const addressAt = (cidr: string, offset: number): string => serviceRanges(cidr)[0]!.at(offset);
