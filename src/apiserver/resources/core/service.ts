import type { k8s, KubeObject } from "../../../api/index.ts";
import { isIP } from "node:net";
import type { FieldError } from "../../machinery/kind.ts";
import { ageColumn, formatLabels, nameColumn, orNone, text, wide } from "../shared/columns.ts";
import { duplicate, forbidden, immutable, invalid, oneOf, required } from "../shared/field-errors.ts";
import { isDns1035Label, isDns1123Label, isDns1123Subdomain, isPortName, isPortNumber } from "../shared/names.ts";
import { validateLabels, validateUnique } from "../shared/object-meta.ts";
import type { Peculiarities } from "../shared/peculiarities.ts";

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
  validate,
  validateUpdate: (object, old) => [...validateKept(object as Service, old as Service), ...validate(object)],
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

/** What was allocated stays when an update leaves it out, so that a plain replace works. The allocator asks for it first. */
export function keepAllocated(now: Service, old: Service): void {
  if (now.spec === undefined || old.spec === undefined) return;
  const bothInCluster = now.spec.type !== "ExternalName" && old.spec.type !== "ExternalName";
  if (bothInCluster) {
    now.spec.clusterIP ||= old.spec.clusterIP;
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

const types = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];

function validate(object: KubeObject): FieldError[] {
  const spec = (object as Service).spec ?? {};
  const headless = spec.clusterIP === "None";
  const errors: FieldError[] = [];
  if ((spec.ports ?? []).length === 0 && !headless && spec.type !== "ExternalName") errors.push(required("spec.ports"));
  errors.push(...oneOf("spec.type", spec.type, types));
  errors.push(...oneOf("spec.sessionAffinity", spec.sessionAffinity, ["ClientIP", "None"]));
  errors.push(...validatePorts(spec.ports ?? []));
  errors.push(...validateLabels(spec.selector, "spec.selector"));
  if (spec.type === "LoadBalancer" && headless)
    errors.push(invalid("spec.clusterIPs[0]", "None", "may not be set to 'None' for LoadBalancer services"));
  if (spec.type === "NodePort" && headless)
    errors.push(invalid("spec.clusterIPs[0]", "None", "may not be set to 'None' for NodePort services"));
  if (spec.type === "ExternalName") errors.push(...validateExternalName(spec));
  for (const [index, ip] of (spec.clusterIPs ?? []).entries())
    if (ip !== "" && ip !== "None" && isIP(ip) === 0)
      errors.push(
        invalid(`spec.clusterIPs[${index}]`, ip, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
      );
  if (!hasNodePorts(spec.type))
    for (const [index, port] of (spec.ports ?? []).entries())
      if (port.nodePort)
        errors.push(forbidden(`spec.ports[${index}].nodePort`, `may not be used when \`type\` is '${spec.type}'`));
  return errors;
}

function validateExternalName(spec: k8s.ServiceSpec): FieldError[] {
  const errors: FieldError[] = [];
  if (spec.clusterIP) errors.push(forbidden("spec.clusterIPs", "may not be set for ExternalName services"));
  const name = spec.externalName?.replace(/\.$/, "") ?? "";
  if (name === "") return [...errors, required("spec.externalName")];
  return [
    ...errors,
    ...isDns1123Subdomain(name).map((detail) => invalid("spec.externalName", spec.externalName, detail)),
  ];
}

function validatePorts(ports: readonly k8s.ServicePort[]): FieldError[] {
  const errors = ports.flatMap((port, index) => {
    const at = `spec.ports[${index}]`;
    const problems: FieldError[] = [];
    if (ports.length > 1 && !port.name) problems.push(required(`${at}.name`));
    else if (port.name)
      problems.push(...isDns1123Label(port.name).map((detail) => invalid(`${at}.name`, port.name, detail)));
    problems.push(...isPortNumber(port.port).map((detail) => invalid(`${at}.port`, port.port ?? 0, detail)));
    problems.push(...oneOf(`${at}.protocol`, port.protocol, ["SCTP", "TCP", "UDP"]));
    const target = port.targetPort;
    const wrong = typeof target === "string" ? isPortName(target) : target === undefined ? [] : isPortNumber(target);
    problems.push(...wrong.map((detail) => invalid(`${at}.targetPort`, target, detail)));
    return problems;
  });
  errors.push(
    ...validateUnique(
      ports.map(({ name }) => name),
      (index) => `spec.ports[${index}].name`,
    ),
  );
  const seen = new Set<string>();
  for (const [index, { port, protocol }] of ports.entries()) {
    if (seen.has(`${port}/${protocol}`)) errors.push(duplicate(`spec.ports[${index}]`, { port, protocol }));
    seen.add(`${port}/${protocol}`);
  }
  return errors;
}

function validateKept(now: Service, old: Service): FieldError[] {
  if (now.spec?.type === "ExternalName" || old.spec?.type === "ExternalName" || !old.spec?.clusterIP) return [];
  const errors = immutable("spec.clusterIPs[0]", now.spec?.clusterIP, old.spec.clusterIP);
  return errors.map((error) => ({
    ...error,
    detail: error.detail.replace("field is immutable", "may not change once set"),
  }));
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
