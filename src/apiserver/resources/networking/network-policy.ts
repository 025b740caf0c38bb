import type { k8s, KubeObject } from "../../../api/index.ts";
import type { FieldError } from "../../machinery/kind.ts";
import { isStrictSubset } from "../shared/addresses.ts";
import { each, isCidr, validCidr } from "../shared/checks.ts";
import { forbidden, invalid, oneOf, required } from "../shared/field-errors.ts";
import { isPortName, isPortNumber } from "../shared/names.ts";
import { validateLabelSelector } from "../shared/object-meta.ts";

/** Upstream's ValidateNetworkPolicySpec (pkg/apis/networking/validation). */
export function validateNetworkPolicy(object: KubeObject): FieldError[] {
  const spec = (object as k8s.NetworkPolicy).spec ?? ({} as k8s.NetworkPolicySpec);
  const types = spec.policyTypes ?? [];
  return [
    ...validateLabelSelector(spec.podSelector, "spec.podSelector"),
    ...each(spec.ingress, "spec.ingress", (rule, at) => [
      ...each(rule.ports, `${at}.ports`, validatePort),
      ...each(rule.from, `${at}.from`, validatePeer),
    ]),
    ...each(spec.egress, "spec.egress", (rule, at) => [
      ...each(rule.ports, `${at}.ports`, validatePort),
      ...each(rule.to, `${at}.to`, validatePeer),
    ]),
    ...(types.length > 2 ? [invalid("spec.policyTypes", types, "may not specify more than two policyTypes")] : []),
    ...each(types, "spec.policyTypes", (type, at) => oneOf(at, type, ["Egress", "Ingress"])),
  ];
}

function validatePort({ protocol, port, endPort }: k8s.NetworkPolicyPort, at: string): FieldError[] {
  const errors = oneOf(`${at}.protocol`, protocol, ["SCTP", "TCP", "UDP"]);
  const end = `${at}.endPort`;
  if (port === undefined) {
    if (endPort !== undefined) errors.push(invalid(end, endPort, "may not be specified when `port` is not specified"));
  } else if (typeof port === "number") {
    errors.push(...isPortNumber(port).map((detail) => invalid(`${at}.port`, port, detail)));
    if (endPort !== undefined && endPort < port)
      errors.push(invalid(end, port, "must be greater than or equal to `port`"));
    if (endPort !== undefined) errors.push(...isPortNumber(endPort).map((detail) => invalid(end, endPort, detail)));
  } else {
    if (endPort !== undefined) errors.push(invalid(end, endPort, "may not be specified when `port` is non-numeric"));
    errors.push(...isPortName(port).map((detail) => invalid(`${at}.port`, port, detail)));
  }
  return errors;
}

function validatePeer({ podSelector, namespaceSelector, ipBlock }: k8s.NetworkPolicyPeer, at: string): FieldError[] {
  const errors = [
    ...validateLabelSelector(podSelector, `${at}.podSelector`),
    ...validateLabelSelector(namespaceSelector, `${at}.namespaceSelector`),
    ...(ipBlock ? validateBlock(ipBlock, `${at}.ipBlock`) : []),
  ];
  if (!podSelector && !namespaceSelector && !ipBlock) errors.push(required(at, "must specify a peer"));
  else if (ipBlock && (podSelector || namespaceSelector))
    errors.push(forbidden(at, "may not specify both ipBlock and another peer"));
  return errors;
}

function validateBlock({ cidr, except }: k8s.IPBlock, at: string): FieldError[] {
  if (!cidr) return [required(`${at}.cidr`)];
  const wrong = validCidr(`${at}.cidr`, cidr);
  if (wrong.length > 0) return wrong;
  return each(except, `${at}.except`, (part, here) => {
    const bad = validCidr(here, part);
    if (bad.length > 0 || !isCidr(part)) return bad;
    return isStrictSubset(part, cidr) ? [] : [invalid(here, part, "must be a strict subset of `cidr`")];
  });
}
