import { isIP } from "node:net";
import type { k8s, KubeObject } from "../../../api/index.ts";
import type { FieldError } from "../../machinery/kind.ts";
import { ageColumn, nameColumn, orNone, text } from "../shared/columns.ts";
import { domainPath, each, label, named, requiredName, subdomain } from "../shared/checks.ts";
import { forbidden, invalid, notSupported, oneOf, required, tooLong } from "../shared/field-errors.ts";
import { isDns1035Label, isDns1123Subdomain, isPathSegment, isPortName, isPortNumber } from "../shared/names.ts";
import type { Peculiarities } from "../shared/peculiarities.ts";

type Ingress = k8s.Ingress;

export const ingress: Peculiarities = {
  shortNames: ["ing"],
  hasGeneration: true,
  prepareForCreate(object) {
    object["status"] = { loadBalancer: {} };
  },
  validate: (object) => [...validate(object), ...validateClassTwice(object as Ingress)],
  validateUpdate: (object) => validate(object),
  columns: [
    nameColumn,
    text<Ingress>("Class", ({ spec, metadata }) =>
      orNone(spec?.ingressClassName ?? metadata.annotations?.["kubernetes.io/ingress.class"] ?? ""),
    ),
    text<Ingress>("Hosts", hostsOf),
    text<Ingress>("Address", ({ status }) =>
      (status?.loadBalancer?.ingress ?? []).map(({ ip, hostname }) => ip || hostname || "").join(","),
    ),
    text<Ingress>("Ports", ({ spec }) => ((spec?.tls?.length ?? 0) > 0 ? "80, 443" : "80")),
    ageColumn,
  ],
};

const shownAtMost = 3;

function hostsOf({ spec }: Ingress): string {
  const hosts = (spec?.rules ?? []).map(({ host }) => host ?? "").filter((host) => host !== "");
  if (hosts.length === 0) return "*";
  const more = hosts.length - shownAtMost;
  return hosts.slice(0, shownAtMost).join(",") + (more > 0 ? ` + ${more} more...` : "");
}

const pathTypes = ["Exact", "ImplementationSpecific", "Prefix"];

function validate(object: KubeObject): FieldError[] {
  const spec = (object as Ingress).spec;
  const errors: FieldError[] = [];
  if ((spec?.rules ?? []).length === 0 && spec?.defaultBackend === undefined)
    errors.push(invalid("spec", null, "either `defaultBackend` or `rules` must be specified"));
  for (const [index, rule] of (spec?.rules ?? []).entries()) {
    const at = `spec.rules[${index}]`;
    if (rule.host && isIP(rule.host) !== 0)
      errors.push(invalid(`${at}.host`, rule.host, "must be a DNS name, not an IP address"));
    else if (rule.host) errors.push(...validateHost(`${at}.host`, rule.host));
    if (rule.http !== undefined && (rule.http.paths ?? []).length === 0) errors.push(required(`${at}.http.paths`));
    for (const [position, path] of (rule.http?.paths ?? []).entries())
      errors.push(...validatePath(path, `${at}.http.paths[${position}]`));
  }
  errors.push(
    ...each(spec?.tls, "spec.tls", ({ hosts }, at) =>
      each(hosts, `${at}.hosts`, (host, here) => validateHost(here, host)),
    ),
  );
  errors.push(...subdomain("spec.ingressClassName", spec?.ingressClassName));
  if (spec?.defaultBackend !== undefined) errors.push(...validateBackend(spec.defaultBackend, "spec.defaultBackend"));
  return errors;
}

function validatePath(path: k8s.HTTPIngressPath, at: string): FieldError[] {
  const errors: FieldError[] = [];
  if (path.pathType === undefined) errors.push(required(`${at}.pathType`, "pathType must be specified"));
  else if (!pathTypes.includes(path.pathType)) errors.push(notSupported(`${at}.pathType`, path.pathType, pathTypes));
  else if (path.pathType !== "ImplementationSpecific" && !path.path?.startsWith("/"))
    errors.push(invalid(`${at}.path`, path.path ?? "", "must be an absolute path"));
  else if (path.pathType !== "ImplementationSpecific") errors.push(...validatePathText(`${at}.path`, path.path!));
  else if (path.path && !path.path.startsWith("/"))
    errors.push(invalid(`${at}.path`, path.path, "must be an absolute path"));
  return [...errors, ...validateBackend(path.backend, `${at}.backend`)];
}

const badSequences = ["//", "/./", "/../", "%2f", "%2F"];
const badEndings = ["/..", "/."];

const validatePathText = (at: string, path: string): FieldError[] => [
  ...badSequences
    .filter((sequence) => path.includes(sequence))
    .map((sequence) => invalid(at, path, `must not contain '${sequence}'`)),
  ...badEndings
    .filter((ending) => path.endsWith(ending))
    .map((ending) => invalid(at, path, `cannot end with '${ending}'`)),
];

const wildcardMessage =
  "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

function validateHost(at: string, host: string): FieldError[] {
  if (!host.includes("*")) return named(at, host, isDns1123Subdomain);
  return host.startsWith("*.") && isDns1123Subdomain(host.slice(2)).length === 0
    ? []
    : [invalid(at, host, wildcardMessage)];
}

const classAnnotation = "kubernetes.io/ingress.class";

/** The annotation of old and the field of today exclude each other, when an Ingress is made. */
function validateClassTwice({ metadata, spec }: Ingress): FieldError[] {
  const annotated = metadata.annotations?.[classAnnotation];
  if (annotated === undefined || spec?.ingressClassName === undefined) return [];
  return [
    invalid(`metadata.annotations.${classAnnotation}`, annotated, "can not be set when the class field is also set"),
  ];
}

const maxControllerBytes = 250;

export function validateIngressClass(object: KubeObject): FieldError[] {
  const { controller, parameters } = (object as k8s.IngressClass).spec ?? {};
  const errors = domainPath("spec.controller", controller);
  if ((controller ?? "").length > maxControllerBytes) errors.push(tooLong("spec.controller", maxControllerBytes));
  if (parameters === undefined) return errors;
  const at = "spec.parameters";
  errors.push(
    ...subdomain(`${at}.apiGroup`, parameters.apiGroup),
    ...requiredName(`${at}.kind`, parameters.kind, isPathSegment),
  );
  errors.push(...requiredName(`${at}.name`, parameters.name, isPathSegment));
  errors.push(...oneOf(`${at}.scope`, parameters.scope, ["Cluster", "Namespace"]));
  if (parameters.scope === "Namespace" && !parameters.namespace)
    errors.push(required(`${at}.namespace`, "`parameters.scope` is set to 'Namespace'"));
  if (parameters.scope === "Cluster" && parameters.namespace !== undefined)
    errors.push(forbidden(`${at}.namespace`, "`parameters.scope` is set to 'Cluster'"));
  return [...errors, ...label(`${at}.namespace`, parameters.namespace)];
}

function validateBackend(backend: k8s.IngressBackend | undefined, at: string): FieldError[] {
  if (backend?.resource !== undefined && backend.service !== undefined)
    return [invalid(at, "", "cannot set both resource and service backends")];
  if (backend?.resource !== undefined) return [];
  if (backend?.service === undefined) return [required(at, "must have one of `service` or `resource`")];
  const { service } = backend;
  const errors: FieldError[] = [];
  if (!service.name) errors.push(required(`${at}.service.name`));
  else errors.push(...named(`${at}.service.name`, service.name, isDns1035Label));
  if (service.port?.name) errors.push(...named(`${at}.service.port.name`, service.port.name, isPortName));
  if (service.port?.number)
    for (const detail of isPortNumber(service.port.number))
      errors.push(invalid(`${at}.service.port.number`, service.port.number, detail));
  if (service.port?.name && service.port.number)
    errors.push(invalid(at, "", "cannot set both port name & port number"));
  else if (!service.port?.name && !service.port?.number) errors.push(required(at, "port name or number is required"));
  return errors;
}
