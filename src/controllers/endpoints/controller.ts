import type { k8s } from "../../api/index.ts";
import { hasCode, rfc3339 } from "../../base/index.ts";
import { keyOf, matchesLabels, resources, type Stored } from "../../client/index.ts";
import { ownerReference, sameJson, type Pod } from "../common/index.ts";
import type { Controller, ControllerContext } from "../controller.ts";
import { desiredGroups, planSlices, subsetsOf, type Group, type Service, type Slice } from "./plan.ts";
import { topologyOf, wantsTopologyHints } from "./topology.ts";

const SERVICE_NAME = "kubernetes.io/service-name";
const MANAGED_BY = "endpointslice.kubernetes.io/managed-by";
const HEADLESS = "service.kubernetes.io/headless";
const SLICE_MANAGER = "endpointslice-controller.k8s.io";
const MIRROR_MANAGER = "endpointslicemirroring-controller.k8s.io";
const SKIP_MIRROR = "endpointslice.kubernetes.io/skip-mirror";
const TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time";

function byService(context: ControllerContext) {
  return context
    .informer(resources.endpointSlices)
    .addIndex("service", (slice) => [`${slice.metadata.namespace}/${slice.metadata.labels?.[SERVICE_NAME] ?? ""}`]);
}

function slicesOf(context: ControllerContext, key: string, manager: string): readonly Slice[] {
  return byService(context)
    .byIndex("service", key)
    .filter((slice) => slice.metadata.labels?.[MANAGED_BY] === manager && !slice.metadata.deletionTimestamp);
}

/** A pod's change concerns the services that select it, before or after. */
function watchPods(context: ControllerContext): void {
  const services = context.informer(resources.services);
  const enqueue = (pod: Pod) => {
    for (const service of services.inNamespace(pod.metadata.namespace!)) {
      const selector = service.spec?.selector;
      if (selector && matchesLabels(selector, pod.metadata.labels)) context.enqueue(keyOf(service));
    }
  };
  context.informer(resources.pods).onChange({
    added: enqueue,
    updated(pod, old) {
      if (sameForServices(pod, old)) return;
      enqueue(pod);
      if (!sameJson(pod.metadata.labels, old.metadata.labels)) enqueue(old);
    },
    deleted: enqueue,
  });
}

/** A node's zone, readiness or size concerns the services whose endpoints are shared out by zones. */
function watchNodes(context: ControllerContext): void {
  const services = context.informer(resources.services);
  const enqueue = () => {
    for (const service of services.list()) if (wantsTopologyHints(service)) context.enqueue(keyOf(service));
  };
  context.informer(resources.nodes).onChange({
    added: enqueue,
    updated(node, old) {
      if (!sameJson(topologyOf(node), topologyOf(old))) enqueue();
    },
    deleted: enqueue,
  });
}

function sameForServices(pod: Pod, old: Pod): boolean {
  const ready = ({ status }: Pod) => status?.conditions?.find(({ type }) => type === "Ready")?.status;
  return (
    ready(pod) === ready(old) &&
    pod.status?.podIP === old.status?.podIP &&
    pod.status?.phase === old.status?.phase &&
    pod.spec?.nodeName === old.spec?.nodeName &&
    pod.metadata.deletionTimestamp === old.metadata.deletionTimestamp &&
    sameJson(pod.metadata.labels, old.metadata.labels)
  );
}

function selectedGroups(context: ControllerContext, service: Service): Group[] {
  const { selector } = service.spec!;
  const pods = context.informer(resources.pods).inNamespace(service.metadata.namespace!);
  const selected = pods.filter((pod) => matchesLabels(selector, pod.metadata.labels));
  return desiredGroups(service, selected, context.informer(resources.nodes));
}

const hasSelector = (service: k8s.Service | undefined) =>
  service?.spec?.selector !== undefined &&
  Object.keys(service.spec.selector).length > 0 &&
  service.spec.type !== "ExternalName";

/** Which addresses a service's traffic may go to. https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/ */
export const endpointSliceController: Controller = {
  name: "endpointslice-controller",
  setup(context) {
    const services = context.informer(resources.services);
    const enqueue = (service: Service) => context.enqueue(keyOf(service));
    services.onChange({ added: enqueue, updated: enqueue, deleted: enqueue });
    watchPods(context);
    watchNodes(context);
    const ofSlice = (slice: Slice) => {
      if (slice.metadata.labels?.[MANAGED_BY] === SLICE_MANAGER)
        context.enqueue(`${slice.metadata.namespace}/${slice.metadata.labels[SERVICE_NAME]}`);
    };
    byService(context).onChange({ updated: ofSlice, deleted: ofSlice });
    return {
      async reconcile(key, signal) {
        const service = services.get(key);
        if (!service || service.metadata.deletionTimestamp || !hasSelector(service)) return;
        await applySlices(
          context,
          service,
          SLICE_MANAGER,
          slicesOf(context, key, SLICE_MANAGER),
          selectedGroups(context, service),
          signal,
        );
      },
    };
  },
};

async function applySlices(
  context: ControllerContext,
  owner: Stored<k8s.Service> | Stored<k8s.Endpoints>,
  manager: string,
  existing: readonly Slice[],
  groups: readonly Group[],
  signal: AbortSignal,
): Promise<void> {
  const client = context.client.of(resources.endpointSlices);
  const plan = planSlices(existing, groups);
  const isHeadless = (owner as k8s.Service).spec?.clusterIP === "None";
  const labels = {
    ...owner.metadata.labels,
    [SERVICE_NAME]: owner.metadata.name,
    [MANAGED_BY]: manager,
    ...(isHeadless ? { [HEADLESS]: "" } : {}),
  };
  const annotations = { [TRIGGER_TIME]: rfc3339(context.clock.nowMs()) };
  for (const group of plan.create) {
    const resource = owner.kind === "Endpoints" ? resources.endpoints : resources.services;
    const metadata = {
      generateName: `${owner.metadata.name}-`,
      namespace: owner.metadata.namespace,
      labels,
      annotations,
      ownerReferences: [ownerReference(owner, resource)],
    };
    await client.create({ metadata, ...group }, { signal });
  }
  for (const { slice, endpoints } of plan.update) {
    const metadata = { ...slice.metadata, labels, annotations: { ...slice.metadata.annotations, ...annotations } };
    await client.update({ ...slice, metadata, endpoints }, { signal });
  }
  for (const slice of plan.remove) {
    await client.delete(slice.metadata, { signal }).catch(ignoreNotFound);
  }
}

function ignoreNotFound(error: unknown): void {
  if (!hasCode(error, "notFound")) throw error;
}

/** The older Endpoints object of the service's name, for clients that still read it. */
export const endpointsController: Controller = {
  name: "endpoint-controller",
  setup(context) {
    const services = context.informer(resources.services);
    const all = context.informer(resources.endpoints);
    const enqueue = (service: Service) => context.enqueue(keyOf(service));
    services.onChange({ added: enqueue, updated: enqueue, deleted: enqueue });
    watchPods(context);
    context.informer(resources.nodes);
    return {
      async reconcile(key, signal) {
        const client = context.client.of(resources.endpoints);
        const service = services.get(key);
        const existing = all.get(key);
        if (!service) {
          if (
            existing &&
            !existing.metadata.annotations?.["control-plane.alpha.kubernetes.io/leader"] &&
            existing.metadata.labels?.[MANAGED_LABEL]
          ) {
            await client.delete(existing.metadata, { signal }).catch(ignoreNotFound);
          }
          return;
        }
        if (!hasSelector(service)) return;
        const subsets = subsetsOf(selectedGroups(context, service));
        const isHeadless = service.spec?.clusterIP === "None";
        const labels = {
          ...service.metadata.labels,
          [MANAGED_LABEL]: "endpoint-controller",
          ...(isHeadless ? { [HEADLESS]: "" } : {}),
        };
        if (existing && sameJson(existing.subsets ?? [], subsets) && sameJson(existing.metadata.labels, labels)) return;
        const annotations = { ...existing?.metadata.annotations, [TRIGGER_TIME]: rfc3339(context.clock.nowMs()) };
        if (existing)
          await client.update(
            { ...existing, metadata: { ...existing.metadata, labels, annotations }, subsets },
            { signal },
          );
        else {
          const { name, namespace } = service.metadata;
          await client.create({ metadata: { name, namespace, labels, annotations }, subsets }, { signal });
        }
      },
    };
  },
};
const MANAGED_LABEL = "endpoints.kubernetes.io/managed-by";

/** Endpoints that people write themselves, for services without a selector, as slices. */
export const endpointSliceMirroringController: Controller = {
  name: "endpointslicemirroring-controller",
  setup(context) {
    const all = context.informer(resources.endpoints);
    const services = context.informer(resources.services);
    const enqueue = (object: Stored<k8s.Endpoints> | Service) => context.enqueue(keyOf(object));
    all.onChange({ added: enqueue, updated: enqueue, deleted: enqueue });
    services.onChange({ added: enqueue, updated: enqueue, deleted: enqueue });
    byService(context);
    return {
      async reconcile(key, signal) {
        const endpoints = all.get(key);
        const service = services.get(key);
        const existing = slicesOf(context, key, MIRROR_MANAGER);
        const mirrored =
          endpoints && service && !service.spec?.selector && endpoints.metadata.labels?.[SKIP_MIRROR] !== "true";
        if (!mirrored) {
          for (const slice of existing)
            await context.client.of(resources.endpointSlices).delete(slice.metadata, { signal }).catch(ignoreNotFound);
          return;
        }
        await applySlices(context, endpoints, MIRROR_MANAGER, existing, mirrorGroups(endpoints), signal);
      },
    };
  },
};

function mirrorGroups(endpoints: k8s.Endpoints): Group[] {
  return (endpoints.subsets ?? []).map((subset) => {
    const ports = (subset.ports ?? []).map(({ name = "", port, protocol = "TCP", appProtocol }) => ({
      name,
      port,
      protocol,
      appProtocol,
    }));
    const convert =
      (ready: boolean) =>
      (address: k8s.EndpointAddress): k8s.Endpoint => ({
        addresses: [address.ip],
        conditions: { ready },
        hostname: address.hostname,
        nodeName: address.nodeName,
        targetRef: address.targetRef,
      });
    const list = [
      ...(subset.addresses ?? []).map(convert(true)),
      ...(subset.notReadyAddresses ?? []).map(convert(false)),
    ];
    return { addressType: list[0]?.addresses[0]?.includes(":") ? "IPv6" : "IPv4", ports, endpoints: list };
  });
}
