import type { k8s } from "../../../../api/index.ts";
import { isIPv6 } from "node:net";
import type { FieldError } from "../../../machinery/kind.ts";
import { each, named, validIp } from "../../shared/checks.ts";
import { duplicate, forbidden, invalid } from "../../shared/field-errors.ts";
import { isDns1123Subdomain, isQualifiedName } from "../../shared/names.ts";
import { validatePodAnnotationsKept } from "./annotations.ts";

/** Upstream's ValidatePodStatusUpdate: what a node may not say of a Pod. */
export function validatePodStatus(now: k8s.Pod, old: k8s.Pod): FieldError[] {
  const status = now.status ?? {};
  const before = old.status ?? {};
  const policy = old.spec?.restartPolicy;
  const sidecars = new Set(
    (old.spec?.initContainers ?? []).filter(({ restartPolicy }) => restartPolicy === "Always").map(({ name }) => name),
  );
  const errors = validatePodAnnotationsKept(now.metadata.annotations, old.metadata.annotations, "metadata.annotations");
  errors.push(...validateConditions(status.conditions));
  if (status.nominatedNodeName && status.nominatedNodeName !== before.nominatedNodeName)
    errors.push(...named("status.nominatedNodeName", status.nominatedNodeName, isDns1123Subdomain));
  return [
    ...errors,
    ...validateStates(old.spec, status.containerStatuses, before.containerStatuses, "status.containerStatuses", policy),
    ...validateStates(
      old.spec,
      status.initContainerStatuses,
      before.initContainerStatuses?.filter(({ name }) => !sidecars.has(name)),
      "status.initContainerStatuses",
      policy,
    ),
    ...validateStates(
      undefined,
      status.ephemeralContainerStatuses,
      before.ephemeralContainerStatuses,
      "status.ephemeralContainerStatuses",
      "Never",
    ),
    ...validateAddresses(status.podIPs, "status.podIPs"),
    ...validateHostAddresses(status),
  ];
}

const systemConditions = new Set(["PodScheduled", "Ready", "Initialized"]);

const validateConditions = (conditions: readonly k8s.PodCondition[] | undefined): FieldError[] =>
  each(conditions, "metadata.conditions", ({ type }, at) =>
    systemConditions.has(type) ? [] : named(`${at}.Type`, type, isQualifiedName),
  );

/** What has ended stays so, unless its restart policy lets it begin again. */
function validateStates(
  spec: k8s.PodSpec | undefined,
  now: readonly k8s.ContainerStatus[] | undefined,
  old: readonly k8s.ContainerStatus[] | undefined,
  at: string,
  podPolicy: string | undefined,
): FieldError[] {
  const containers = [...(spec?.containers ?? []), ...(spec?.initContainers ?? [])];
  return each(old, at, ({ name, state }, here) => {
    const own = containers.find((container) => container.name === name);
    const policy = own?.restartPolicy ?? podPolicy;
    const ended = state?.terminated;
    if (!ended || policy === "Always" || (own?.restartPolicyRules ?? []).length > 0) return [];
    if (ended.exitCode !== 0 && policy === "OnFailure") return [];
    const after = now?.find((status) => status.name === name);
    return after !== undefined && after.state?.terminated === undefined
      ? [forbidden(`${here}.state`, "may not be transitioned to non-terminated state")]
      : [];
  });
}

function validateAddresses(addresses: readonly { ip?: string }[] | undefined, at: string): FieldError[] {
  const errors = each(addresses, at, ({ ip }, here) => validIp(here, ip));
  if ((addresses ?? []).length < 2 || errors.length > 0) return errors;
  const families = new Set(addresses!.map(({ ip }) => isIPv6(ip!)));
  if (families.size !== 2 || addresses!.length > 2)
    errors.push(invalid(at, addresses, "may specify no more than one IP for each IP family"));
  const seen = new Set<string | undefined>();
  for (const [index, address] of addresses!.entries()) {
    if (seen.has(address.ip)) errors.push(duplicate(`${at}[${index}]`, address));
    seen.add(address.ip);
  }
  return errors;
}

function validateHostAddresses({ hostIP, hostIPs = [] }: k8s.PodStatus): FieldError[] {
  if (hostIPs.length === 0) return [];
  const first = hostIPs[0]!.ip;
  return [
    ...(first === hostIP ? [] : [invalid("status.hostIPs[0].ip", first, "must be equal to `hostIP`")]),
    ...validateAddresses(hostIPs, "status.hostIPs"),
  ];
}
