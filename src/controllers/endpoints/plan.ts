import type { k8s } from "../../api/index.ts";
import type { Stored } from "../../client/index.ts";
import { canonicalJson, isPodReady, isPodTerminal, sameJson, type Pod } from "../common/index.ts";
import { withTopologyHints, wantsTopologyHints } from "./topology.ts";

export type Service = Stored<k8s.Service>;
export type Slice = Stored<k8s.EndpointSlice>;
export type AddressType = "IPv4" | "IPv6";

/** Upstream's --max-endpoints-per-slice. */
const MAX_PER_SLICE = 100;

export interface Group {
  readonly addressType: AddressType;
  readonly ports: k8s.DiscoveryEndpointPort[];
  readonly endpoints: k8s.Endpoint[];
}

/** The services' families; a headless or external one without any counts as IPv4. */
function familiesOf(service: k8s.Service): AddressType[] {
  const families = service.spec?.ipFamilies?.length ? service.spec.ipFamilies : ["IPv4"];
  return families.map((family) => (family === "IPv6" ? "IPv6" : "IPv4"));
}

function addressOf(pod: Pod, type: AddressType): string | undefined {
  const ips = pod.status?.podIPs?.map(({ ip }) => ip) ?? (pod.status?.podIP ? [pod.status.podIP] : []);
  return ips.find((ip) => ip.includes(":") === (type === "IPv6"));
}

/** The pod's number for a service port: a named target port is looked up in its containers. */
function targetPort(port: k8s.ServicePort, pod: Pod): number | undefined {
  const target = port.targetPort ?? port.port;
  if (typeof target === "number") return target || port.port;
  const sidecars = pod.spec?.initContainers?.filter(({ restartPolicy }) => restartPolicy === "Always") ?? [];
  for (const container of [...(pod.spec?.containers ?? []), ...sidecars]) {
    const found = container.ports?.find(
      ({ name, protocol = "TCP" }) => name === target && protocol === (port.protocol ?? "TCP"),
    );
    if (found) return found.containerPort;
  }
  return undefined;
}

function portsFor(service: k8s.Service, pod: Pod): k8s.DiscoveryEndpointPort[] {
  return (service.spec?.ports ?? []).flatMap((port) => {
    const number = targetPort(port, pod);
    if (number === undefined) return [];
    return [{ name: port.name ?? "", port: number, protocol: port.protocol ?? "TCP", appProtocol: port.appProtocol }];
  });
}

function endpointOf(service: Service, pod: Pod, address: string, node: Stored<k8s.Node> | undefined): k8s.Endpoint {
  const serving = isPodReady(pod);
  const terminating = pod.metadata.deletionTimestamp !== undefined;
  const { name, namespace, uid } = pod.metadata;
  const hostname = pod.spec?.hostname && pod.spec.subdomain === service.metadata.name ? pod.spec.hostname : undefined;
  return {
    addresses: [address],
    conditions: {
      ready: service.spec?.publishNotReadyAddresses ? true : serving && !terminating,
      serving,
      terminating,
    },
    targetRef: { kind: "Pod", namespace, name, uid },
    nodeName: pod.spec?.nodeName,
    zone: node?.metadata.labels?.["topology.kubernetes.io/zone"],
    hostname,
  };
}

/**
 * For whom an endpoint is meant, by the Service's `trafficDistribution`; proxies that find no such endpoint use all. Only endpoints that take traffic have hints.
 * https://kubernetes.io/docs/reference/networking/virtual-ips/#traffic-distribution
 */
export function hintsOf(
  distribution: string | undefined,
  { nodeName, zone, conditions }: k8s.Endpoint,
): k8s.EndpointHints | undefined {
  if (!distribution || conditions?.ready === false) return undefined;
  const forZones = zone ? { forZones: [{ name: zone }] } : {};
  const forNodes = distribution === "PreferSameNode" && nodeName ? { forNodes: [{ name: nodeName }] } : {};
  return zone || "forNodes" in forNodes ? { ...forZones, ...forNodes } : undefined;
}

/** As much of an informer as is asked here. */
interface Nodes {
  get(name: string): Stored<k8s.Node> | undefined;
  list(): readonly Stored<k8s.Node>[];
}

/** What the service's slices should say together, grouped by what one slice can hold. */
export function desiredGroups(service: Service, pods: readonly Pod[], nodes: Nodes): Group[] {
  // The annotation goes before the newer field, as upstream has it.
  const byTopology = wantsTopologyHints(service);
  const distribution = byTopology ? undefined : service.spec?.trafficDistribution;
  const groups: Group[] = [];
  for (const addressType of familiesOf(service)) {
    const byPorts = new Map<string, Group>();
    for (const pod of pods) {
      const address = addressOf(pod, addressType);
      if (!address || isPodTerminal(pod) || !pod.spec?.nodeName) continue;
      const ports = portsFor(service, pod);
      const key = canonicalJson(ports);
      let group = byPorts.get(key);
      if (!group) byPorts.set(key, (group = { addressType, ports, endpoints: [] }));
      const endpoint = endpointOf(service, pod, address, nodes.get(pod.spec.nodeName));
      const hints = hintsOf(distribution, endpoint);
      group.endpoints.push(hints ? { ...endpoint, hints } : endpoint);
    }
    if (byPorts.size === 0) byPorts.set("", { addressType, ports: [], endpoints: [] });
    for (const group of byPorts.values())
      groups.push(byTopology ? { ...group, endpoints: withTopologyHints(group.endpoints, nodes.list()) } : group);
  }
  return groups;
}

export interface SlicePlan {
  readonly create: readonly Group[];
  readonly update: readonly { slice: Slice; endpoints: k8s.Endpoint[] }[];
  readonly remove: readonly Slice[];
}

/** The fewest writes from the slices there are to those there should be: what stands in a slice stays in it. */
export function planSlices(existing: readonly Slice[], groups: readonly Group[]): SlicePlan {
  const create: Group[] = [];
  const update: { slice: Slice; endpoints: k8s.Endpoint[] }[] = [];
  const unused = new Set(existing);
  for (const group of groups) {
    const wanted = new Map(group.endpoints.map((endpoint) => [identity(endpoint), endpoint]));
    const kept: { slice: Slice; endpoints: k8s.Endpoint[] }[] = [];
    for (const slice of existing) {
      if (!unused.has(slice) || slice.addressType !== group.addressType || !sameJson(slice.ports ?? [], group.ports))
        continue;
      const endpoints = slice.endpoints.flatMap((endpoint) => {
        const key = identity(endpoint);
        const next = wanted.get(key);
        wanted.delete(key);
        return next ? [next] : [];
      });
      kept.push({ slice, endpoints });
      unused.delete(slice);
    }
    const left = [...wanted.values()];
    for (const { endpoints } of kept) endpoints.push(...left.splice(0, Math.max(0, MAX_PER_SLICE - endpoints.length)));
    const isPlaceholder = group.endpoints.length === 0;
    for (const [index, each] of kept.entries()) {
      if (each.endpoints.length === 0 && !(isPlaceholder && index === 0)) unused.add(each.slice);
      else if (!sameJson(each.endpoints, each.slice.endpoints)) update.push(each);
    }
    while (left.length > 0) create.push({ ...group, endpoints: left.splice(0, MAX_PER_SLICE) });
    if (isPlaceholder && kept.length === 0) create.push(group);
  }
  return { create, update, remove: [...unused] };
}

function identity(endpoint: k8s.Endpoint): string {
  return endpoint.targetRef?.uid ?? endpoint.addresses.join();
}

/** The same in Endpoints' older form: one subset per set of ports. */
export function subsetsOf(groups: readonly Group[]): k8s.EndpointSubset[] {
  return groups
    .filter(({ endpoints, addressType }) => endpoints.length > 0 && addressType === "IPv4")
    .map(({ endpoints, ports }) => {
      const address = (endpoint: k8s.Endpoint): k8s.EndpointAddress => ({
        ip: endpoint.addresses[0]!,
        nodeName: endpoint.nodeName,
        hostname: endpoint.hostname,
        targetRef: endpoint.targetRef,
      });
      const live = endpoints
        .filter((endpoint) => !endpoint.conditions?.terminating)
        .sort((left, right) => (left.addresses[0]! < right.addresses[0]! ? -1 : 1));
      const ready = live.filter((endpoint) => endpoint.conditions?.ready).map(address);
      const notReady = live.filter((endpoint) => !endpoint.conditions?.ready).map(address);
      return {
        addresses: ready.length > 0 ? ready : undefined,
        notReadyAddresses: notReady.length > 0 ? notReady : undefined,
        ports: ports.map(({ name, port, protocol, appProtocol }) => ({
          name: name || undefined,
          port: port!,
          protocol,
          appProtocol,
        })),
      };
    })
    .filter(({ addresses, notReadyAddresses }) => addresses || notReadyAddresses);
}
