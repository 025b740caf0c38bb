import { BlockList } from "node:net";
import type { k8s } from "../../api/index.ts";
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
          .filter((service) => isBalanced(service) && !addressOf(service))
          .forEach(enqueue),
    });
    return {
      async reconcile(key, signal) {
        const service = services.get(key);
        if (!service) return;
        if (!isBalanced(service) || service.metadata.deletionTimestamp) return release(context, service, signal);
        if (addressOf(service)) return;
        const ip = pickAddress(context.settings.loadBalancerCidrs ?? [], services.list(), service.spec?.loadBalancerIP);
        if (!ip) {
          context.events.event(
            service,
            "Warning",
            "SyncLoadBalancerFailed",
            "Error syncing load balancer: no address is left in the configured ranges",
          );
          return;
        }
        context.events.event(service, "Normal", "EnsuringLoadBalancer", "Ensuring load balancer");
        const client = context.client.of(resources.services);
        const withFinalizer = draft(service);
        withFinalizer.metadata.finalizers = [...new Set([...(service.metadata.finalizers ?? []), FINALIZER])];
        const updated = await client.update(withFinalizer, { signal });
        await client.updateStatus(
          { ...updated, status: { ...updated.status, loadBalancer: { ingress: [{ ip, ipMode: "VIP" }] } } },
          { signal },
        );
        context.events.event(service, "Normal", "EnsuredLoadBalancer", "Ensured load balancer");
      },
    };
  },
};

function addressOf(service: Service): string | undefined {
  return service.status?.loadBalancer?.ingress?.[0]?.ip;
}

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

/** The wanted address if it is in range and free, else the first free one. IPv4 only. */
export function pickAddress(
  cidrs: readonly string[],
  services: readonly Service[],
  wanted: string | undefined,
): string | undefined {
  const taken = new Set(services.map(addressOf));
  const ranges = new BlockList();
  for (const cidr of cidrs) {
    const [base = "", prefix = "32"] = cidr.split("/");
    ranges.addSubnet(base, Number(prefix), "ipv4");
  }
  if (wanted) return ranges.check(wanted, "ipv4") && !taken.has(wanted) ? wanted : undefined;
  for (const cidr of cidrs) {
    const [base = "", prefix = "32"] = cidr.split("/");
    const first = toNumber(base);
    const size = 2 ** (32 - Number(prefix));
    for (let offset = size > 2 ? 1 : 0; offset < (size > 2 ? size - 1 : size); offset++) {
      const ip = toText(first + offset);
      if (!taken.has(ip)) return ip;
    }
  }
  return undefined;
}

const toNumber = (ip: string) => ip.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
const toText = (value: number) => [24, 16, 8, 0].map((shift) => Math.floor(value / 2 ** shift) % 256).join(".");
