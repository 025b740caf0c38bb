import type { k8s } from "../../api/index.ts";
import { canonicalIp, IpRange } from "../../base/index.ts";
import { draft, keyOf, resources, type Stored } from "../../client/index.ts";
import type { Controller, ControllerContext } from "../controller.ts";

type Service = Stored<k8s.Service>;

const FINALIZER = "service.kubernetes.io/load-balancer-cleanup";
const isBalanced = (service: Service) => service.spec?.type === "LoadBalancer" && !service.spec.loadBalancerClass;

/** Gives Services of type LoadBalancer an address of the instance's range; the node's proxy answers on it. */
export const loadBalancerController: Controller = {
  name: "service-controller",
  component: "service-controller",
  // One at a time: two services must not get one address.
  workers: 1,
  setup(context) {
    const services = context.informer(resources.services);
    const enqueue = (service: Service) => context.enqueue(keyOf(service));
    services.onChange({
      added: enqueue,
      updated: enqueue,
      // An address has become free.
      deleted: () =>
        services
          .list()
          .filter((service) => isBalanced(service) && addressesOf(service).length === 0)
          .forEach(enqueue),
    });
    return {
      async reconcile(key, signal) {
        const service = services.get(key);
        if (!service) return;
        if (!isBalanced(service) || service.metadata.deletionTimestamp) return release(context, service, signal);
        const ips = pickAddresses(context.settings.loadBalancerCidrs ?? [], services.list(), service);
        if (ips.length === 0) {
          context.events.event(
            service,
            "Warning",
            "SyncLoadBalancerFailed",
            "Error syncing load balancer: no address is left in the configured ranges",
          );
          return;
        }
        if (String(ips) === String(addressesOf(service))) return;
        context.events.event(service, "Normal", "EnsuringLoadBalancer", "Ensuring load balancer");
        const client = context.client.of(resources.services);
        const withFinalizer = draft(service);
        withFinalizer.metadata.finalizers = [...new Set([...(service.metadata.finalizers ?? []), FINALIZER])];
        const updated = await client.update(withFinalizer, { signal });
        await client.updateStatus(
          {
            ...updated,
            status: { ...updated.status, loadBalancer: { ingress: ips.map((ip) => ({ ip, ipMode: "VIP" })) } },
          },
          { signal },
        );
        context.events.event(service, "Normal", "EnsuredLoadBalancer", "Ensured load balancer");
      },
    };
  },
};

function addressesOf(service: Service): string[] {
  return (service.status?.loadBalancer?.ingress ?? []).flatMap(({ ip }) => ip ?? []);
}

const familiesOf = (service: Service) => (service.spec?.ipFamilies?.length ? service.spec.ipFamilies : ["IPv4"]);
const familyOf = (address: string) => (address.includes(":") ? "IPv6" : "IPv4");

async function release(context: ControllerContext, service: Service, signal: AbortSignal): Promise<void> {
  if (!service.metadata.finalizers?.includes(FINALIZER)) return;
  const client = context.client.of(resources.services);
  const cleared = service.metadata.deletionTimestamp
    ? service
    : await client.updateStatus({ ...service, status: { ...service.status, loadBalancer: {} } }, { signal });
  const next = draft(cleared);
  next.metadata.finalizers = next.metadata.finalizers!.filter((name) => name !== FINALIZER);
  await client.update(next, { signal });
}

/** One address of each of the Service's families that the ranges have; those it has stay. */
function pickAddresses(cidrs: readonly string[], services: readonly Service[], service: Service): string[] {
  const has = addressesOf(service);
  const others = services.filter(({ metadata }) => metadata.uid !== service.metadata.uid);
  const taken = new Set(others.flatMap(addressesOf).map(canonicalIp));
  const wanted = service.spec?.loadBalancerIP;
  return familiesOf(service).flatMap((family) => {
    const ranges = cidrs.map((cidr) => new IpRange(cidr)).filter((range) => range.family === family);
    const own = has.find((address) => familyOf(address) === family);
    return own ?? pickAddress(ranges, taken, wanted && familyOf(wanted) === family ? wanted : undefined) ?? [];
  });
}

/** The wanted address if it is in range and free, else the first free one. */
function pickAddress(
  ranges: readonly IpRange[],
  taken: ReadonlySet<string>,
  wanted: string | undefined,
): string | undefined {
  if (wanted) {
    const inRange = ranges.some((range) => range.offsetOf(wanted) !== undefined);
    return inRange && !taken.has(canonicalIp(wanted)) ? wanted : undefined;
  }
  for (const range of ranges) {
    // A range of one or two addresses has none to spare.
    const [first, last] = range.size > 2n ? [1n, range.usable] : [0n, range.size - 1n];
    for (let offset = first; offset <= last; offset++) {
      const ip = range.at(offset);
      if (!taken.has(ip)) return ip;
    }
  }
  return undefined;
}
