import type { k8s } from "../../api/index.ts";
import type { Lister } from "../../client/index.ts";
import { reverseName } from "./names.ts";

/** The records of a name, one of the ways a name leads on, or nothing of ours. */
export type Lookup =
  | { readonly kind: "records"; readonly records: readonly ZoneRecord[]; readonly additionals?: readonly ZoneRecord[] }
  /** The name exists, not with records of this type. */
  | { readonly kind: "noData" }
  | { readonly kind: "noName" }
  /** An ExternalName Service. */
  | { readonly kind: "alias"; readonly target: string }
  /** Not of the cluster's zone: asked upstream. */
  | { readonly kind: "elsewhere" };

export type ZoneRecord =
  | { readonly type: "A" | "AAAA" | "PTR" | "TXT"; readonly name: string; readonly data: string }
  | { readonly type: "SRV"; readonly name: string; readonly data: SrvData };

interface SrvData {
  readonly target: string;
  readonly port: number;
  readonly priority: number;
  readonly weight: number;
}

export const SERVICE_BY_ADDRESS = "clusterIP";
export const SLICES_BY_SERVICE = "service";
export const SLICES_BY_ADDRESS = "address";

export interface ZoneSources {
  /** Without the last dot: `cluster.local`. */
  readonly domain: string;
  /** Indexed by `SERVICE_BY_ADDRESS`. */
  readonly services: Pick<Lister<k8s.Service>, "get" | "byIndex" | "inNamespace">;
  /** Indexed by `SLICES_BY_SERVICE` and `SLICES_BY_ADDRESS`. */
  readonly slices: Pick<Lister<k8s.EndpointSlice>, "byIndex">;
}

/** Schema version of the specification that is followed. */
const SPEC_VERSION = "1.1.0";
const NO_DATA: Lookup = { kind: "noData" };
const NO_NAME: Lookup = { kind: "noName" };
const ELSEWHERE: Lookup = { kind: "elsewhere" };

/** An endpoint of a headless Service with the name it has below it. */
interface Named {
  readonly hostname: string;
  readonly address: string;
  readonly ports: readonly k8s.DiscoveryEndpointPort[];
}

/**
 * What a name means in the cluster, by https://github.com/kubernetes/dns/blob/master/docs/specification.md. Pure over the listers. `name` is in lower
 * case without the last dot.
 */
export class Zone {
  readonly #sources: ZoneSources;

  constructor(sources: ZoneSources) {
    this.#sources = sources;
  }

  lookup(name: string, type: string): Lookup {
    const { domain } = this.#sources;
    const reverse = reverseName(name);
    if (reverse !== undefined) return this.#address(name, reverse, type);
    if (name === domain) return NO_DATA;
    if (!name.endsWith(`.${domain}`)) return ELSEWHERE;
    const labels = name.slice(0, -domain.length - 1).split(".");
    const group = labels.pop();
    if (group === "dns-version" && labels.length === 0) {
      return type === "TXT" ? { kind: "records", records: [{ type, name, data: SPEC_VERSION }] } : NO_DATA;
    }
    if (group !== "svc" && group !== "pod") return NO_NAME;
    const namespace = labels.pop();
    if (namespace === undefined) return NO_DATA;
    if (labels.length === 0) return this.#sources.services.inNamespace(namespace).length > 0 ? NO_DATA : NO_NAME;
    if (group === "pod") return labels.length === 1 ? podAddress(name, labels[0]!, type) : NO_NAME;
    return this.#service(name, labels, namespace, type);
  }

  /** `[_port._protocol.][hostname.]service`. */
  #service(name: string, labels: readonly string[], namespace: string, type: string): Lookup {
    const service = this.#sources.services.get(`${namespace}/${labels.at(-1)}`);
    if (!service) return NO_NAME;
    if (service.spec?.type === "ExternalName") {
      return labels.length === 1 && service.spec.externalName
        ? { kind: "alias", target: service.spec.externalName }
        : NO_NAME;
    }
    const headless = !service.spec?.clusterIP || service.spec.clusterIP === "None";
    const base = `${labels.at(-1)}.${namespace}.svc.${this.#sources.domain}`;
    const endpoints = headless ? this.#endpoints(`${namespace}/${labels.at(-1)}`) : [];
    if (labels.length === 1) {
      if (type === "SRV") return this.#srv(name, base, service, endpoints, headless, undefined, undefined);
      return headless && endpoints.length === 0
        ? NO_NAME
        : addresses(name, addressesOf(service, endpoints, headless), type);
    }
    if (labels.length === 2) {
      const named = endpoints.filter((endpoint) => endpoint.hostname === labels[0]);
      return named.length > 0
        ? addresses(
            name,
            named.map(({ address }) => address),
            type,
          )
        : NO_NAME;
    }
    const [port, protocol] = labels;
    if (labels.length !== 3 || !port?.startsWith("_") || !protocol?.startsWith("_")) return NO_NAME;
    return this.#srv(name, base, service, endpoints, headless, port.slice(1), protocol.slice(1));
  }

  #srv(
    name: string,
    base: string,
    service: k8s.Service,
    endpoints: readonly Named[],
    headless: boolean,
    port: string | undefined,
    protocol: string | undefined,
  ): Lookup {
    const fits = (one: { name?: string; protocol?: string }) =>
      (port === undefined || one.name === port) &&
      (protocol === undefined || (one.protocol ?? "TCP").toLowerCase() === protocol);
    const targets = headless
      ? endpoints.flatMap((endpoint) =>
          endpoint.ports.filter(fits).map((one) => ({
            target: `${endpoint.hostname}.${base}`,
            port: one.port ?? 0,
            addresses: [endpoint.address],
          })),
        )
      : (service.spec?.ports ?? [])
          .filter(fits)
          .map((one) => ({ target: base, port: one.port, addresses: addressesOf(service, [], false) }));
    if (targets.length === 0) return NO_NAME;
    const weight = Math.max(1, Math.floor(100 / targets.length));
    const records = targets.map((one): ZoneRecord => {
      const data = { target: one.target, port: one.port, priority: 0, weight };
      return { type: "SRV", name, data };
    });
    const additionals = new Map(
      targets.flatMap((one) =>
        one.addresses.map((address) => [`${one.target} ${address}`, record(one.target, address)] as const),
      ),
    );
    return { kind: "records", records, additionals: [...additionals.values()] };
  }

  #endpoints(key: string): Named[] {
    const found = new Map<string, Named>();
    for (const slice of this.#sources.slices.byIndex(SLICES_BY_SERVICE, key)) {
      for (const endpoint of slice.endpoints ?? []) {
        if (endpoint.conditions?.ready === false || slice.addressType === "FQDN") continue;
        for (const address of endpoint.addresses) {
          found.set(address, { hostname: endpoint.hostname || dashed(address), address, ports: slice.ports ?? [] });
        }
      }
    }
    return [...found.values()];
  }

  /** PTR: a Service's address, else an endpoint of a headless Service; everything else is somebody else's. */
  #address(name: string, address: string, type: string): Lookup {
    const names = this.#namesOf(address);
    if (names.length === 0) return ELSEWHERE;
    if (type !== "PTR") return NO_DATA;
    return { kind: "records", records: names.map((data) => ({ type: "PTR", name, data })) };
  }

  #namesOf(address: string): string[] {
    const { domain, services, slices } = this.#sources;
    const [service] = services.byIndex(SERVICE_BY_ADDRESS, address);
    if (service) return [`${service.metadata.name}.${service.metadata.namespace}.svc.${domain}`];
    return slices.byIndex(SLICES_BY_ADDRESS, address).flatMap((slice) => {
      const owner = slice.metadata.labels?.["kubernetes.io/service-name"];
      const endpoint = slice.endpoints?.find((one) => one.addresses.includes(address));
      const headless = services.get(`${slice.metadata.namespace}/${owner}`)?.spec?.clusterIP === "None";
      if (!owner || !endpoint || !headless) return [];
      return [`${endpoint.hostname || dashed(address)}.${owner}.${slice.metadata.namespace}.svc.${domain}`];
    });
  }
}

/** The values under which a Service and a slice are found; for the informers' indexes. */
export function serviceAddresses(service: k8s.Service): string[] {
  return (service.spec?.clusterIPs ?? [service.spec?.clusterIP ?? ""]).filter(
    (address) => address && address !== "None",
  );
}
export function sliceService(slice: k8s.EndpointSlice): string[] {
  const name = slice.metadata?.labels?.["kubernetes.io/service-name"];
  return name ? [`${slice.metadata?.namespace ?? ""}/${name}`] : [];
}
export function sliceAddresses(slice: k8s.EndpointSlice): string[] {
  return (slice.endpoints ?? []).flatMap((endpoint) => endpoint.addresses);
}

function addressesOf(service: k8s.Service, endpoints: readonly Named[], headless: boolean): string[] {
  return headless ? endpoints.map(({ address }) => address) : serviceAddresses(service);
}

function addresses(name: string, all: readonly string[], type: string): Lookup {
  const records = all.map((address) => record(name, address)).filter((one) => one.type === type);
  return records.length > 0 ? { kind: "records", records } : NO_DATA;
}

function record(name: string, address: string): ZoneRecord {
  return { type: address.includes(":") ? "AAAA" : "A", name, data: address };
}

/** An endpoint without a host name is called by its address, with dashes. */
function dashed(address: string): string {
  return address.replaceAll(/[.:]/g, "-");
}

/** `172-12-0-1.default.pod.cluster.local`: the address is in the name. */
function podAddress(name: string, label: string, type: string): Lookup {
  const four = /^\d{1,3}(-\d{1,3}){3}$/.test(label);
  const address = four ? label.replaceAll("-", ".") : label.replaceAll("-", ":");
  if (
    four ? address.split(".").some((byte) => Number(byte) > 255) : !/^[0-9a-f:]*:[0-9a-f:]*:[0-9a-f:]*$/.test(address)
  )
    return NO_NAME;
  return addresses(name, [address], type);
}
