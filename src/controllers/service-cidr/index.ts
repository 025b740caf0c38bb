import type { k8s } from "../../api/index.ts";
import { rfc3339 } from "../../base/index.ts";
import { resources, type Stored } from "../../client/index.ts";
import { ipv4Contains, ipv4Number, ipv4Range } from "../common/index.ts";
import type { Controller, ControllerContext } from "../controller.ts";

type ServiceCidr = Stored<k8s.ServiceCIDR>;

const FINALIZER = "networking.k8s.io/service-cidr-finalizer";
/** Upstream's grace: an address given out from the range while it was being deleted shows up in this time. */
const DELETION_GRACE_MS = 10_000;
const IN_USE =
  "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";

const rangesOf = ({ spec }: ServiceCidr) => (spec?.cidrs ?? []).flatMap((cidr) => ipv4Range(cidr) ?? []);

/** Whether addresses that are in use lie in this range and in no other that stays. */
function isInUse(cidr: ServiceCidr, all: readonly ServiceCidr[], addresses: readonly string[]): boolean {
  const own = rangesOf(cidr);
  const others = all
    .filter((other) => other.metadata.name !== cidr.metadata.name && !other.metadata.deletionTimestamp)
    .flatMap(rangesOf);
  return addresses.some((text) => {
    const ip = ipv4Number(text);
    if (ip === undefined || !own.some((range) => ipv4Contains(range, ip))) return false;
    return !others.some((range) => ipv4Contains(range, ip));
  });
}

/** Says that ranges of Services are ready, and keeps those from going whose addresses are in use. */
export const serviceCidrController: Controller = {
  name: "service-cidrs-controller",
  component: "service-cidrs-controller",
  workers: 1,
  setup(context) {
    const cidrs = context.informer(resources.serviceCidrs);
    const addresses = context.informer(resources.ipAddresses);
    const enqueue = (cidr: ServiceCidr) => context.enqueue(cidr.metadata.name);
    cidrs.onChange({
      added: enqueue,
      // One that comes or goes decides about those that overlap it.
      updated: () => cidrs.list().forEach(enqueue),
      deleted: () => cidrs.list().forEach(enqueue),
    });
    const waiting = () => cidrs.list().forEach((cidr) => cidr.metadata.deletionTimestamp && enqueue(cidr));
    addresses.onChange({ deleted: waiting });
    // berth's allocator makes no IPAddresses of its own: what Services have counts as well.
    const services = context.informer(resources.services);
    services.onChange({ deleted: waiting });
    const used = () => [
      ...addresses.list().map(({ metadata }) => metadata.name),
      ...services.list().flatMap(({ spec }) => spec?.clusterIPs ?? spec?.clusterIP ?? []),
    ];
    return {
      async reconcile(name, signal) {
        const cidr = cidrs.get(name);
        if (!cidr) return;
        const { finalizers = [], deletionTimestamp } = cidr.metadata;
        if (!deletionTimestamp) {
          if (!finalizers.includes(FINALIZER)) return setFinalizers(context, cidr, [...finalizers, FINALIZER], signal);
          return setReady(context, cidr, { status: "True", message: "Kubernetes Service CIDR is ready" }, signal);
        }
        if (!finalizers.includes(FINALIZER)) return;
        if (isInUse(cidr, cidrs.list(), used()))
          return setReady(context, cidr, { status: "False", reason: "Terminating", message: IN_USE }, signal);
        const leftMs = Date.parse(deletionTimestamp) + DELETION_GRACE_MS - context.clock.nowMs();
        if (leftMs > 0) return { requeueAfterMs: leftMs };
        const others = finalizers.filter((finalizer) => finalizer !== FINALIZER);
        return setFinalizers(context, cidr, others, signal);
      },
    };
  },
};

async function setFinalizers(context: ControllerContext, cidr: ServiceCidr, finalizers: string[], signal: AbortSignal) {
  const metadata = { ...cidr.metadata, finalizers };
  await context.client.of(resources.serviceCidrs).update({ ...cidr, metadata }, { signal });
}

async function setReady(
  context: ControllerContext,
  cidr: ServiceCidr,
  wanted: { status: string; reason?: string; message: string },
  signal: AbortSignal,
): Promise<void> {
  const old = cidr.status?.conditions?.find(({ type }) => type === "Ready");
  if (old?.status === wanted.status && old.message === wanted.message) return;
  const lastTransitionTime = rfc3339(context.clock.nowMs());
  const condition = { type: "Ready", reason: "", ...wanted, lastTransitionTime };
  const conditions = [...(cidr.status?.conditions ?? []).filter(({ type }) => type !== "Ready"), condition];
  await context.client
    .of(resources.serviceCidrs)
    .updateStatus({ ...cidr, status: { ...cidr.status, conditions } }, { signal });
}
