import ipaddr from "ipaddr.js";
import { isIPv6 } from "node:net";
import type { k8s, KubeObject } from "../../../api/index.ts";
import type { FieldError } from "../../machinery/kind.ts";
import { each, mustBeSet, named, validCidr } from "../shared/checks.ts";
import { deepEqual, invalid, required } from "../shared/field-errors.ts";
import { isPathSegment } from "../shared/names.ts";

type Cidr = k8s.ServiceCIDR;
const familyOf = (cidr: string): string => (isIPv6(cidr.split("/")[0]!) ? "IPv6" : "IPv4");

export function validateServiceCidr(object: KubeObject): FieldError[] {
  const cidrs = (object as Cidr).spec?.cidrs ?? [];
  const at = "spec.cidrs";
  if (cidrs.length === 0) return [required(at, "at least one CIDR required")];
  if (cidrs.length > 2) return [invalid(at, cidrs, "may only hold up to 2 values")];
  const errors: FieldError[] = [];
  if (cidrs.length === 2 && familyOf(cidrs[0]!) === familyOf(cidrs[1]!))
    errors.push(
      invalid(at, cidrs, "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"),
    );
  return [...errors, ...each(cidrs, at, (cidr, here) => validCidr(here, cidr))];
}

/** One family may become two; what is there stays. */
export function validateServiceCidrChange(now: Cidr, old: Cidr): FieldError[] {
  const [after, before] = [now.spec?.cidrs ?? [], old.spec?.cidrs ?? []];
  if (deepEqual(after, before)) return [];
  if (before.length === 1 && after.length === 2 && after[0] === before[0])
    return validateServiceCidr(now as KubeObject);
  return [invalid("spec.cidrs", after, "field is immutable")];
}

/** The name is the address, in the form that everybody writes it. */
export function validateIpAddress(object: KubeObject): FieldError[] {
  const name = object.metadata.name ?? "";
  const errors: FieldError[] = [];
  if (!ipaddr.isValid(name)) errors.push(invalid("metadata.name", name, "must be a valid IP address"));
  else if (ipaddr.parse(name).toString() !== name)
    errors.push(invalid("metadata.name", name, `must be in canonical form ("${ipaddr.parse(name).toString()}")`));
  const parent = (object as k8s.IPAddress).spec?.parentRef;
  const at = "spec.parentRef";
  if (parent === undefined) return [...errors, required(at)];
  return [
    ...errors,
    ...mustBeSet(`${at}.resource`, parent.resource),
    ...(parent.resource ? named(`${at}.resource`, parent.resource, isPathSegment) : []),
    ...mustBeSet(`${at}.name`, parent.name),
    ...(parent.name ? named(`${at}.name`, parent.name, isPathSegment) : []),
  ];
}
