import type { k8s } from "../../api/index.ts";
import { randomInt, type Random } from "../../base/index.ts";
import { resources, type Informer, type InformerFactory } from "../../client/index.ts";
import type { Target } from "./messages.ts";

const SLICES_BY_SERVICE = "ingress-service";
/** https://kubernetes.io/docs/concepts/services-networking/service/#application-protocol */
const H2C = "kubernetes.io/h2c";

/** Finds what a Service's port leads to. */
export class Backends {
  readonly services: Informer<k8s.Service>;
  readonly #slices: Informer<k8s.EndpointSlice>;
  readonly #random: Random;

  private constructor(informers: InformerFactory, random: Random) {
    this.services = informers.for(resources.services);
    this.#slices = informers.for(resources.endpointSlices);
    this.#random = random;
    this.#slices.addIndex(SLICES_BY_SERVICE, ({ metadata }) => {
      const service = metadata.labels?.["kubernetes.io/service-name"];
      return service ? [`${metadata.namespace}/${service}`] : [];
    });
  }

  static async follow(informers: InformerFactory, random: Random): Promise<Backends> {
    const backends = new Backends(informers, random);
    await Promise.all([backends.services.whenSynced(), backends.#slices.whenSynced()]);
    return backends;
  }

  /** `port` by number or name. A Service's own address: the kernel balances. Services without one are looked up here. */
  target(namespace: string, name: string, port: number | string): Target {
    const key = `${namespace}/${name}`;
    const refuse = (why: string): Target => ({ status: 503, message: `Service ${key} ${why}` });
    const service = this.services.get(key);
    if (!service) return refuse("does not exist");
    const { type, externalName, clusterIP, ports = [] } = service.spec ?? {};
    if (type === "ExternalName" && externalName) return { host: externalName, port: Number(port) || 80 };
    const found = ports.find((one) => one.port === port || one.name === port);
    if (!found) return refuse(`has no port ${port}`);
    const endpoints = this.#endpoints(key, found.name ?? "");
    if (endpoints.length === 0) return refuse("has no ready endpoints");
    const protocol = found.appProtocol === H2C ? { http2: true } : {};
    if (clusterIP && clusterIP !== "None") return { host: clusterIP, port: found.port, ...protocol };
    return { ...endpoints[randomInt(this.#random, endpoints.length)]!, ...protocol };
  }

  #endpoints(service: string, portName: string): { host: string; port: number }[] {
    return this.#slices.byIndex(SLICES_BY_SERVICE, service).flatMap((slice) => {
      const port = slice.ports?.find((one) => (one.name ?? "") === portName)?.port;
      const usable = (slice.endpoints ?? []).filter(
        ({ conditions }) => conditions?.ready !== false || (conditions.serving && conditions.terminating),
      );
      return port === undefined ? [] : usable.map(({ addresses }) => ({ host: addresses[0]!, port }));
    });
  }
}
