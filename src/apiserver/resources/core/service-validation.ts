import { isIPv6 } from "node:net";
import type { k8s, KubeObject } from "../../../api/index.ts";
import type { FieldError } from "../../machinery/kind.ts";
import { each, label, named, namedIfSet, portNumberOrName, subdomain, validCidr, validIp } from "../shared/checks.ts";
import { duplicate, forbidden, invalid, oneOf, required } from "../shared/field-errors.ts";
import { isPortNumber, isQualifiedName } from "../shared/names.ts";
import { nonSpecialIp } from "../shared/addresses.ts";
import { validateLabels } from "../shared/object-meta.ts";

type Service = k8s.Service;
type Spec = k8s.ServiceSpec;

const isHeadless = (spec: Spec): boolean => spec.clusterIPs?.length === 1 && spec.clusterIPs[0] === "None";
/** Without `clusterIPs` `clusterIP` is what counts: before the allocator made them agree. */
const headless = (spec: Spec): boolean =>
  isHeadless(spec) || (spec.clusterIPs === undefined && spec.clusterIP === "None");
const isExternal = ({ type, externalIPs }: Spec): boolean =>
  type === "LoadBalancer" || type === "NodePort" || (type === "ClusterIP" && (externalIPs ?? []).length > 0);

const kubeletPort = 10_250;

/** Upstream's ValidateService, in its order and words. */
export function validateService(object: KubeObject): FieldError[] {
  const spec = (object as Service).spec ?? {};
  const ports = spec.ports ?? [];
  return [
    ...(ports.length === 0 && !headless(spec) && spec.type !== "ExternalName" ? [required("spec.ports")] : []),
    ...validateByType(spec),
    ...validatePorts(spec, ports),
    ...validateLabels(spec.selector, "spec.selector"),
    ...validateAffinity(spec),
    ...(spec.type === "ExternalName" ? [] : validateClusterIps(spec)),
    ...each(spec.externalIPs, "spec.externalIPs", (ip, at) => {
      const wrong = validIp(at, ip);
      return wrong.length > 0 ? wrong : nonSpecialIp(at, ip);
    }),
    ...oneOf("spec.type", spec.type, ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]),
    ...validateRepeatedPorts(spec, ports),
    ...validateLoadBalancer(object as Service),
    ...validateTraffic(spec),
  ];
}

function validateByType(spec: Spec): FieldError[] {
  const none = (type: string): FieldError[] =>
    headless(spec) ? [invalid("spec.clusterIPs[0]", "None", `may not be set to 'None' for ${type} services`)] : [];
  if (spec.type === "LoadBalancer")
    return [
      ...each(spec.ports, "spec.ports", ({ port }, at) =>
        port === kubeletPort
          ? [invalid(at, port, `may not expose port ${kubeletPort} externally since it is used by kubelet`)]
          : [],
      ),
      ...none("LoadBalancer"),
    ];
  if (spec.type === "NodePort") return none("NodePort");
  return spec.type === "ExternalName" ? validateExternalName(spec) : [];
}

function validateExternalName(spec: Spec): FieldError[] {
  const errors: FieldError[] = [];
  const detail = "may not be set for ExternalName services";
  if ((spec.clusterIPs ?? []).length > 0 || spec.clusterIP) errors.push(forbidden("spec.clusterIPs", detail));
  if ((spec.ipFamilies ?? []).length > 0) errors.push(forbidden("spec.ipFamilies", detail));
  if (spec.ipFamilyPolicy !== undefined) errors.push(forbidden("spec.ipFamilyPolicy", detail));
  const name = spec.externalName?.replace(/\.$/, "") ?? "";
  return [...errors, ...(name === "" ? [required("spec.externalName")] : subdomain("spec.externalName", name))];
}

function validatePorts(spec: Spec, ports: readonly k8s.ServicePort[]): FieldError[] {
  const names = new Set<string>();
  return each(ports, "spec.ports", (port, at) => {
    const errors: FieldError[] = [];
    if (ports.length > 1 && !port.name) errors.push(required(`${at}.name`));
    else if (port.name) {
      errors.push(...label(`${at}.name`, port.name));
      if (names.has(port.name)) errors.push(duplicate(`${at}.name`, port.name));
      names.add(port.name);
    }
    errors.push(...isPortNumber(port.port).map((detail) => invalid(`${at}.port`, port.port ?? 0, detail)));
    errors.push(...oneOf(`${at}.protocol`, port.protocol, ["SCTP", "TCP", "UDP"]));
    if (port.targetPort !== undefined) errors.push(...portNumberOrName(`${at}.targetPort`, port.targetPort));
    return [...errors, ...namedIfSet(`${at}.appProtocol`, port.appProtocol, isQualifiedName)];
  });
}

/** Upstream shows its internal form, whose fields have Go's names. */
const shownPort = (protocol: string | undefined, port: number): object => ({
  Name: "",
  Protocol: protocol ?? "",
  AppProtocol: null,
  Port: port,
  TargetPort: 0,
  NodePort: 0,
});

function validateRepeatedPorts(spec: Spec, ports: readonly k8s.ServicePort[]): FieldError[] {
  const errors: FieldError[] = [];
  if (spec.type === "ClusterIP")
    for (const [index, { nodePort }] of ports.entries())
      if (nodePort)
        errors.push(forbidden(`spec.ports[${index}].nodePort`, "may not be used when `type` is 'ClusterIP'"));
  const nodePorts = new Set<string>();
  for (const [index, { nodePort, protocol }] of ports.entries()) {
    if (!nodePort) continue;
    if (nodePorts.has(`${protocol}/${nodePort}`)) errors.push(duplicate(`spec.ports[${index}].nodePort`, nodePort));
    nodePorts.add(`${protocol}/${nodePort}`);
  }
  const seen = new Set<string>();
  for (const [index, { port, protocol }] of ports.entries()) {
    if (seen.has(`${protocol}/${port}`)) errors.push(duplicate(`spec.ports[${index}]`, shownPort(protocol, port)));
    seen.add(`${protocol}/${port}`);
  }
  return errors;
}

const maxAffinitySeconds = 86_400;

function validateAffinity(spec: Spec): FieldError[] {
  const errors = oneOf("spec.sessionAffinity", spec.sessionAffinity, ["ClientIP", "None"]);
  const at = "spec.sessionAffinityConfig";
  const config = spec.sessionAffinityConfig;
  if (spec.sessionAffinity === "None" && config !== undefined)
    errors.push(forbidden(at, "must not be set when session affinity is None"));
  if (spec.sessionAffinity !== "ClientIP") return errors;
  const seconds = config?.clientIP?.timeoutSeconds;
  if (seconds === undefined) return [...errors, required(at, "when session affinity type is ClientIP")];
  if (seconds <= 0 || seconds > maxAffinitySeconds)
    errors.push(
      invalid(`${at}.clientIP.timeoutSeconds`, seconds, `must be greater than 0 and less than ${maxAffinitySeconds}`),
    );
  return errors;
}

/** Upstream's ValidateServiceClusterIPsRelatedFields. */
function validateClusterIps(spec: Spec): FieldError[] {
  const at = "spec.clusterIPs";
  const ips = spec.clusterIPs ?? [];
  const errors: FieldError[] = [];
  if (spec.clusterIP && ips.length > 0 && ips[0] !== spec.clusterIP)
    errors.push(invalid(at, ips, "first value must match `clusterIP`"));
  if (spec.clusterIP === "" && ips.length > 0)
    errors.push(invalid(at, ips, "must be empty when `clusterIP` is not specified"));
  const families = new Set<string>();
  errors.push(
    ...each(spec.ipFamilies, "spec.ipFamilies", (family, here) => {
      const wrong = oneOf(here, family, ["IPv4", "IPv6"]);
      if (families.has(family)) wrong.push(duplicate(here, family));
      families.add(family);
      return wrong;
    }),
    ...oneOf("spec.ipFamilyPolicy", spec.ipFamilyPolicy, ["PreferDualStack", "RequireDualStack", "SingleStack"]),
  );
  const wrong = ips.flatMap((ip, index) => {
    if (index > 0 || ip !== "None") return validIp(`${at}[${index}]`, ip);
    return ips.length > 1 ? [invalid(at, ips, "'None' must be the first and only value")] : [];
  });
  errors.push(...wrong);
  if (ips.length > 2) errors.push(invalid(at, ips, "may only hold up to 2 values"));
  if (wrong.length > 0) return errors;
  if (ips.length > 1 && new Set(ips.map(isIPv6)).size < 2)
    errors.push(invalid(at, ips, "may specify no more than one IP for each IP family"));
  if (isHeadless(spec)) return errors;
  for (const [index, family] of (spec.ipFamilies ?? []).entries()) {
    const ip = ips[index];
    if (ip !== undefined && isIPv6(ip) !== (family === "IPv6"))
      errors.push(
        invalid(`${at}[${index}]`, ip, `expected an ${family} value as indicated by \`ipFamilies[${index}]\``),
      );
  }
  return errors;
}

const rangesAnnotation = "service.beta.kubernetes.io/load-balancer-source-ranges";

function validateLoadBalancer({ spec = {}, metadata }: Service): FieldError[] {
  const errors: FieldError[] = [];
  const balanced = spec.type === "LoadBalancer";
  const only = "may only be used when `type` is 'LoadBalancer'";
  const annotated = metadata.annotations?.[rangesAnnotation];
  if ((spec.loadBalancerSourceRanges ?? []).length > 0) {
    if (!balanced) errors.push(forbidden("spec.LoadBalancerSourceRanges", only));
    errors.push(
      ...each(spec.loadBalancerSourceRanges, "spec.LoadBalancerSourceRanges", (range, at) =>
        validCidr(at, range.trim()),
      ),
    );
  } else if (annotated !== undefined) {
    const at = `metadata.annotations[${rangesAnnotation}]`;
    if (!balanced) errors.push(forbidden(at, only));
    if (annotated.trim() !== "") errors.push(...annotated.split(",").flatMap((range) => validCidr(at, range.trim())));
  }
  if (spec.allocateLoadBalancerNodePorts !== undefined && !balanced)
    errors.push(forbidden("spec.allocateLoadBalancerNodePorts", only));
  if (spec.loadBalancerClass !== undefined)
    errors.push(
      ...(balanced
        ? named("spec.loadBalancerClass", spec.loadBalancerClass, isQualifiedName)
        : [forbidden("spec.loadBalancerClass", only)]),
    );
  return errors;
}

function validateTraffic(spec: Spec): FieldError[] {
  const errors: FieldError[] = [];
  if (!isExternal(spec)) {
    if (spec.externalTrafficPolicy)
      errors.push(
        invalid(
          "spec.externalTrafficPolicy",
          spec.externalTrafficPolicy,
          "may only be set for externally-accessible services",
        ),
      );
  } else {
    errors.push(...oneOf("spec.externalTrafficPolicy", spec.externalTrafficPolicy, ["Cluster", "Local"]));
  }
  if (spec.healthCheckNodePort && !needsHealthCheck(spec))
    errors.push(
      invalid(
        "spec.healthCheckNodePort",
        spec.healthCheckNodePort,
        "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
      ),
    );
  else if (spec.healthCheckNodePort)
    for (const detail of isPortNumber(spec.healthCheckNodePort))
      errors.push(invalid("spec.healthCheckNodePort", spec.healthCheckNodePort, detail));
  return [
    ...errors,
    ...oneOf("spec.internalTrafficPolicy", spec.internalTrafficPolicy, ["Cluster", "Local"]),
    ...oneOf("spec.trafficDistribution", spec.trafficDistribution, ["PreferClose", "PreferSameNode", "PreferSameZone"]),
  ];
}

const needsHealthCheck = (spec: Spec): boolean =>
  spec.type === "LoadBalancer" && spec.externalTrafficPolicy === "Local";

/** What an update may not change: addresses, families, the class of the load balancer. */
export function validateServiceChange(now: Service, old: Service): FieldError[] {
  const [after, before] = [now.spec ?? {}, old.spec ?? {}];
  const errors: FieldError[] = [];
  if (after.type !== "ExternalName" && before.type !== "ExternalName")
    errors.push(...validateAddressChange(after, before), ...validateFamilyChange(after, before));
  if (after.type === "LoadBalancer" && before.type === "LoadBalancer")
    if (after.loadBalancerClass !== before.loadBalancerClass)
      errors.push(invalid("spec.loadBalancerClass", after.loadBalancerClass, "may not change once set"));
  if (needsHealthCheck(after) && needsHealthCheck(before) && before.healthCheckNodePort)
    if (after.healthCheckNodePort !== before.healthCheckNodePort)
      errors.push(forbidden("spec.healthCheckNodePort", "field is immutable"));
  return errors;
}

function validateAddressChange(after: Spec, before: Spec): FieldError[] {
  if (headless(after) && headless(before)) return [];
  const at = "spec.clusterIPs";
  const now = after.clusterIPs ?? (after.clusterIP ? [after.clusterIP] : []);
  const old = before.clusterIPs ?? (before.clusterIP ? [before.clusterIP] : []);
  const once = "may not change once set";
  if (old.length === now.length)
    return old.flatMap((ip, index) => (ip === now[index] ? [] : [invalid(`${at}[${index}]`, now, once)]));
  if (old.length > now.length && now.length === 0)
    return [invalid(`${at}[0]`, null, "primary clusterIP can not be unset")];
  const errors = old.length > 0 && old[0] !== now[0] ? [invalid(`${at}[0]`, now, once)] : [];
  if (old.length > now.length && after.ipFamilyPolicy !== "SingleStack")
    errors.push(
      invalid(
        "spec.ipFamilyPolicy",
        after.ipFamilyPolicy,
        "must be set to 'SingleStack' when releasing the secondary clusterIP",
      ),
    );
  return errors;
}

function validateFamilyChange(after: Spec, before: Spec): FieldError[] {
  if (headless(after) || headless(before)) return [];
  const [now, old] = [after.ipFamilies ?? [], before.ipFamilies ?? []];
  const at = "spec.ipFamilies[0]";
  if (old.length === 0 || now.length === 0) return [];
  if (old.length === now.length)
    return old.some((family, index) => family !== now[index]) ? [invalid(at, now, "may not change once set")] : [];
  const errors = now[0] === old[0] ? [] : [invalid(at, after.clusterIPs ?? null, "may not change once set")];
  if (old.length > now.length && after.ipFamilyPolicy !== "SingleStack")
    errors.push(
      invalid(
        "spec.ipFamilyPolicy",
        after.ipFamilyPolicy,
        "must be set to 'SingleStack' when releasing the secondary ipFamily",
      ),
    );
  return errors;
}
