import type { k8s, KubeObject } from "../../../api/index.ts";
import type { FieldError } from "../../machinery/kind.ts";
import { ageColumn, nameColumn, orNone, text } from "../shared/columns.ts";
import { invalid, notSupported, required } from "../shared/field-errors.ts";
import { isDns1123Subdomain } from "../shared/names.ts";
import type { Peculiarities } from "../shared/peculiarities.ts";

type Ingress = k8s.Ingress;

export const ingress: Peculiarities = {
  shortNames: ["ing"],
  hasGeneration: true,
  prepareForCreate(object) {
    object["status"] = { loadBalancer: {} };
  },
  validate,
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
    errors.push(invalid("spec", {}, "either `defaultBackend` or `rules` must be specified"));
  for (const [index, rule] of (spec?.rules ?? []).entries()) {
    const at = `spec.rules[${index}]`;
    if (rule.host)
      errors.push(
        ...isDns1123Subdomain(rule.host.replace(/^\*\./, "")).map((detail) => invalid(`${at}.host`, rule.host, detail)),
      );
    if (rule.http !== undefined && (rule.http.paths ?? []).length === 0) errors.push(required(`${at}.http.paths`));
    for (const [position, path] of (rule.http?.paths ?? []).entries())
      errors.push(...validatePath(path, `${at}.http.paths[${position}]`));
  }
  if (spec?.defaultBackend !== undefined) errors.push(...validateBackend(spec.defaultBackend, "spec.defaultBackend"));
  return errors;
}

function validatePath(path: k8s.HTTPIngressPath, at: string): FieldError[] {
  const errors: FieldError[] = [];
  if (path.pathType === undefined) errors.push(required(`${at}.pathType`, "pathType must be specified"));
  else if (!pathTypes.includes(path.pathType)) errors.push(notSupported(`${at}.pathType`, path.pathType, pathTypes));
  else if (path.pathType !== "ImplementationSpecific" && !path.path?.startsWith("/"))
    errors.push(invalid(`${at}.path`, path.path ?? "", "must be an absolute path"));
  return [...errors, ...validateBackend(path.backend, `${at}.backend`)];
}

function validateBackend(backend: k8s.IngressBackend | undefined, at: string): FieldError[] {
  if (backend?.resource !== undefined && backend.service !== undefined)
    return [invalid(at, "", "cannot set both resource and service backends")];
  if (backend?.resource !== undefined) return [];
  if (backend?.service === undefined) return [required(at, "must have one of `service` or `resource`")];
  const { service } = backend;
  const errors: FieldError[] = [];
  if (!service.name) errors.push(required(`${at}.service.name`));
  if (service.port?.name && service.port.number)
    errors.push(invalid(at, "", "cannot set both port name & port number"));
  else if (!service.port?.name && !service.port?.number) errors.push(required(at, "port name or number is required"));
  return errors;
}
