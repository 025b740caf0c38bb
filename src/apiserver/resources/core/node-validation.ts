import type { k8s, KubeObject } from "../../../api/index.ts";
import { isIPv6 } from "node:net";
import type { FieldError } from "../../machinery/kind.ts";
import { each, named, validCidr } from "../shared/checks.ts";
import { deepEqual, duplicate, forbidden, invalid, notSupported, required } from "../shared/field-errors.ts";
import { isLabelValue, isQualifiedName } from "../shared/names.ts";
import { validateResourceQuantity } from "./pod-validation/compute.ts";
import { taintEffects } from "./pod-validation/scheduling.ts";

type Node = k8s.Node;

/** Upstream's field path for a Node's taints is metadata's. */
function validateTaints(taints: readonly k8s.Taint[] | undefined): FieldError[] {
  const seen = new Set<string>();
  return each(taints, "metadata.taints", ({ key, value = "", effect }, at) => {
    const errors = named(`${at}.key`, key ?? "", isQualifiedName);
    const wrong = isLabelValue(value);
    if (wrong.length > 0) errors.push(invalid(`${at}.value`, value, wrong.join(";")));
    if (!effect) errors.push(required(`${at}.effect`));
    else if (!taintEffects.includes(effect)) errors.push(notSupported(`${at}.effect`, effect, taintEffects));
    if (seen.has(`${key}:${effect}`)) {
      const shown = { Key: key, Value: value, Effect: effect, TimeAdded: null };
      const error = duplicate(at, shown);
      errors.push({ ...error, detail: `${error.detail}: taints must be unique by key and effect pair` });
    }
    seen.add(`${key}:${effect}`);
    return errors;
  });
}

function validateSizes({ status }: Node): FieldError[] {
  return (["capacity", "allocatable"] as const).flatMap((part) =>
    Object.entries(status?.[part] ?? {}).flatMap(([name, quantity]) =>
      validateResourceQuantity(name, quantity, `status.${part}.${name}`),
    ),
  );
}

export function validateNode(object: KubeObject): FieldError[] {
  const it = object as Node;
  const cidrs = it.spec?.podCIDRs ?? [];
  const errors = [...validateTaints(it.spec?.taints), ...validateSizes(it)];
  errors.push(...each(cidrs, "spec.podCIDRs", (cidr, at) => validCidr(at, cidr)));
  if (cidrs.length < 2) return errors;
  const families = new Set(cidrs.map((cidr) => isIPv6(cidr.split("/")[0]!)));
  if (families.size < 2 || cidrs.length > 2)
    errors.push(invalid("spec.podCIDRs", cidrs, "may specify no more than one CIDR for each IP family"));
  for (const [index, cidr] of cidrs.entries())
    if (cidrs.indexOf(cidr) < index) errors.push(duplicate(`spec.podCIDRs[${index}]`, cidr));
  return errors;
}

export function validateNodeChange(now: Node, old: Node): FieldError[] {
  const errors = validateSizes(now);
  const addresses = new Set<string>();
  for (const [index, address] of (now.status?.addresses ?? []).entries()) {
    const key = `${address.type} ${address.address}`;
    if (addresses.has(key))
      errors.push(duplicate(`status.addresses[${index}]`, { Type: address.type, Address: address.address }));
    addresses.add(key);
  }
  const cidrs = ({ spec }: Node) => spec?.podCIDRs ?? (spec?.podCIDR ? [spec.podCIDR] : []);
  if (cidrs(old).length > 0 && !deepEqual(cidrs(old), cidrs(now)))
    errors.push(forbidden("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid'));
  if (old.spec?.providerID && now.spec?.providerID !== old.spec.providerID)
    errors.push(forbidden("spec.providerID", 'node updates may not change providerID except from "" to valid'));
  return [...errors, ...validateTaints(now.spec?.taints)];
}
