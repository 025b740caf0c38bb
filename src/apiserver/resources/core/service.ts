import type { k8s, KubeObject } from "../../../api/index.ts";
import { ageColumn, formatLabels, nameColumn, orNone, text, wide } from "../shared/columns.ts";
import { isDns1035Label } from "../shared/names.ts";
import type { Peculiarities } from "../shared/peculiarities.ts";
import { validateService, validateServiceChange } from "./service-validation.ts";

type Service = k8s.Service;

/** Cluster IPs and node ports are handed out by admission/service-allocator.ts, after defaulting and before validation. */
export const service: Peculiarities = {
  shortNames: ["svc"],
  categories: ["all"],
  checkName: isDns1035Label,
  fillDefaults,
  prepareForCreate(object) {
    object["status"] = { loadBalancer: {} };
  },
  returnDeletedObject: true,
  prepareForUpdate: (object, old) => dropOfOtherType(object as Service, old as Service),
  validate: validateService,
  validateUpdate: (object, old) => [
    ...validateServiceChange(object as Service, old as Service),
    ...validateService(object),
  ],
  selectableFields: {
    "spec.clusterIP": (object) => (object as Service).spec?.clusterIP ?? "",
    "spec.type": (object) => (object as Service).spec?.type ?? "",
  },
  columns: [
    nameColumn,
    text<Service>("Type", ({ spec }) => spec?.type ?? ""),
    text<Service>("Cluster-IP", ({ spec }) => orNone(spec?.clusterIP ?? "")),
    text<Service>("External-IP", externalIps),
    text<Service>("Port(s)", ({ spec }) => formatPorts(spec?.ports ?? [])),
    ageColumn,
    wide(text<Service>("Selector", ({ spec }) => formatLabels(spec?.selector))),
  ],
};

const hasNodePorts = (type: string | undefined): boolean => type === "NodePort" || type === "LoadBalancer";

function fillDefaults(object: KubeObject): void {
  const spec = ((object as Service).spec ??= {});
  spec.sessionAffinity ??= "None";
  spec.type ??= "ClusterIP";
  if (spec.sessionAffinity === "None") delete spec.sessionAffinityConfig;
  else ((spec.sessionAffinityConfig ??= {}).clientIP ??= {}).timeoutSeconds ??= 10_800;
  for (const port of spec.ports ?? []) {
    port.protocol ??= "TCP";
    if (port.targetPort === undefined || port.targetPort === 0 || port.targetPort === "") port.targetPort = port.port;
  }
  if (hasNodePorts(spec.type)) spec.externalTrafficPolicy ??= "Cluster";
  if (spec.type !== "ExternalName") spec.internalTrafficPolicy ??= "Cluster";
  if (spec.type === "LoadBalancer") spec.allocateLoadBalancerNodePorts ??= true;
}

/** A change of type takes along what only the old type has, unless it was changed too: upstream's dropTypeDependentFields. */
function dropOfOtherType({ spec: now }: Service, { spec: old }: Service): void {
  if (now === undefined || old === undefined || now.type === old.type) return;
  if (now.type === "ExternalName" && now.clusterIP === old.clusterIP)
    for (const field of ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] as const) delete now[field];
  const same = <F extends keyof k8s.ServiceSpec>(field: F): boolean => now[field] === old[field];
  if (hasNodePorts(old.type) && !hasNodePorts(now.type)) {
    const given = new Set((old.ports ?? []).map(({ nodePort }) => nodePort));
    for (const port of now.ports ?? []) if (given.has(port.nodePort)) delete port.nodePort;
    if (same("externalTrafficPolicy")) delete now.externalTrafficPolicy;
  }
  if (old.type !== "LoadBalancer") return;
  for (const field of ["healthCheckNodePort", "allocateLoadBalancerNodePorts", "loadBalancerClass"] as const)
    if (same(field)) delete now[field];
}

/** What was allocated stays when an update leaves it out, so that a plain replace works. The allocator asks for it first. */
export function keepAllocated(now: Service, old: Service): void {
  if (now.spec === undefined || old.spec === undefined) return;
  const bothInCluster = now.spec.type !== "ExternalName" && old.spec.type !== "ExternalName";
  if (bothInCluster) {
    now.spec.clusterIP ||= old.spec.clusterIP;
    addressOfBoth(now.spec, old.spec);
    now.spec.clusterIPs ??= now.spec.clusterIP === old.spec.clusterIP ? old.spec.clusterIPs : undefined;
    now.spec.ipFamilies ??= old.spec.ipFamilies;
    now.spec.ipFamilyPolicy ??= old.spec.ipFamilyPolicy;
  }
  if (!hasNodePorts(now.spec.type) || !hasNodePorts(old.spec.type)) return;
  const portKey = ({ port, protocol }: k8s.ServicePort): string => `${port}/${protocol ?? "TCP"}`;
  const taken = new Map(old.spec.ports?.map((port) => [portKey(port), port.nodePort]));
  for (const port of now.spec.ports ?? []) port.nodePort ||= taken.get(portKey(port));
  if (now.spec.externalTrafficPolicy === "Local" && now.spec.type === "LoadBalancer")
    now.spec.healthCheckNodePort ||= old.spec.healthCheckNodePort;
}

/** Who knows `clusterIP` alone and changes it means the first of `clusterIPs` too, which came along unchanged. */
function addressOfBoth(now: k8s.ServiceSpec, old: k8s.ServiceSpec): void {
  const isOwn = now.clusterIP !== old.clusterIP && String(now.clusterIPs) === String(old.clusterIPs);
  if (isOwn && now.clusterIP && now.clusterIPs?.length) now.clusterIPs = [now.clusterIP, ...now.clusterIPs.slice(1)];
}

function externalIps({ spec, status }: Service): string {
  const given = spec?.externalIPs ?? [];
  const ingress = (status?.loadBalancer?.ingress ?? []).map(({ ip, hostname }) => ip || hostname || "").join(",");
  switch (spec?.type) {
    case "ExternalName":
      return orNone(spec.externalName ?? "");
    case "LoadBalancer": {
      const all = [...(ingress === "" ? [] : [ingress]), ...given].join(",");
      return all === "" ? "<pending>" : all;
    }
    default:
      return orNone(given.join(","));
  }
}

function formatPorts(ports: readonly k8s.ServicePort[]): string {
  return orNone(
    ports
      .map(({ port, nodePort, protocol }) => (nodePort ? `${port}:${nodePort}/${protocol}` : `${port}/${protocol}`))
      .join(","),
  );
}
