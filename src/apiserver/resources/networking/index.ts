import type { k8s } from "../../../api/index.ts";
import { ageColumn, formatSelector, nameColumn, orNone, text } from "../shared/columns.ts";
import { immutable } from "../shared/field-errors.ts";
import type { GroupKinds } from "../shared/peculiarities.ts";
import { ingress, validateIngressClass } from "./ingress.ts";
import { validateNetworkPolicy } from "./network-policy.ts";
import { validateIpAddress, validateServiceCidr, validateServiceCidrChange } from "./service-cidr.ts";

type Class = k8s.IngressClass;
type Policy = k8s.NetworkPolicy;
type Cidr = k8s.ServiceCIDR;
type Address = k8s.IPAddress;

export const networkingKinds: GroupKinds = {
  ingresses: ingress,
  ingressclasses: {
    hasGeneration: true,
    validate: validateIngressClass,
    validateUpdate: (object, old) => [
      ...immutable("spec.controller", (object as Class).spec?.controller, (old as Class).spec?.controller),
      ...validateIngressClass(object),
    ],
    columns: [
      nameColumn,
      text<Class>("Controller", ({ spec }) => spec?.controller ?? ""),
      text<Class>("Parameters", ({ spec }) => formatParameters(spec?.parameters)),
      ageColumn,
    ],
  },
  ipaddresses: {
    shortNames: ["ip"],
    validate: validateIpAddress,
    validateUpdate: (object, old) =>
      immutable("spec.parentRef", (object as Address).spec?.parentRef, (old as Address).spec?.parentRef),
    columns: [
      nameColumn,
      text<Address>("ParentRef", ({ spec }) => {
        const { group = "", resource, namespace = "", name } = spec?.parentRef ?? ({} as k8s.ParentReference);
        return [...(group === "" ? [] : [group]), resource, ...(namespace === "" ? [] : [namespace]), name].join("/");
      }),
    ],
  },
  networkpolicies: {
    shortNames: ["netpol"],
    hasGeneration: true,
    fillDefaults(object) {
      const spec = ((object as Policy).spec ??= {});
      (spec as { podSelector?: object }).podSelector ??= {};
      spec.policyTypes ??= spec.egress === undefined ? ["Ingress"] : ["Ingress", "Egress"];
      for (const rule of [...(spec.ingress ?? []), ...(spec.egress ?? [])])
        for (const port of rule.ports ?? []) port.protocol ??= "TCP";
    },
    validate: validateNetworkPolicy,
    columns: [nameColumn, text<Policy>("Pod-Selector", ({ spec }) => formatSelector(spec?.podSelector)), ageColumn],
  },
  servicecidrs: {
    validate: validateServiceCidr,
    validateUpdate: (object, old) => validateServiceCidrChange(object as Cidr, old as Cidr),
    columns: [nameColumn, text<Cidr>("CIDRs", ({ spec }) => orNone((spec?.cidrs ?? []).join(","))), ageColumn],
  },
};

function formatParameters(ref: k8s.IngressClassParametersReference | undefined): string {
  if (ref === undefined) return "<none>";
  return `${ref.kind}${ref.apiGroup ? `.${ref.apiGroup}` : ""}/${ref.name}`;
}
