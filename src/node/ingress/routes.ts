import type { k8s } from "../../api/index.ts";

/** Requests without TLS are sent to https first; an annotation of ours, or of the controller that most manifests were written for. */
const REDIRECTS = ["berth.dev/ssl-redirect", "nginx.ingress.kubernetes.io/force-ssl-redirect"];

export interface Backend {
  readonly namespace: string;
  readonly toHttps?: boolean;
  readonly service: string;
  /** Number or name of a port of the Service. */
  readonly port: number | string;
  /** A backend that is no Service, as `Kind name`: nobody here can serve it. */
  readonly resource?: string;
}

interface PathRule {
  readonly path: string;
  readonly exact: boolean;
  readonly backend: Backend;
}

/** What a request is matched against. */
export interface RoutingTable {
  /** By host name: `shop.example`, `*.example`, or empty for every host. Paths stand in the order of their precedence. */
  readonly hosts: ReadonlyMap<string, readonly PathRule[]>;
  readonly defaultBackend?: Backend;
  /** Host (or wildcard, or empty for every host) to `namespace/name` of the Secret with its certificate. */
  readonly certificates: ReadonlyMap<string, string>;
}

/** Rules of several Ingresses for one host and path: the oldest Ingress has it. */
export function routingTable(ingresses: readonly k8s.Ingress[]): RoutingTable {
  const hosts = new Map<string, PathRule[]>();
  const certificates = new Map<string, string>();
  let defaultBackend: Backend | undefined;
  for (const { metadata, spec } of ingresses.toSorted(byAge)) {
    const namespace = metadata?.namespace ?? "";
    const toHttps = REDIRECTS.some((name) => metadata?.annotations?.[name] === "true");
    for (const { host = "", http } of spec?.rules ?? []) {
      const rules = hosts.get(host) ?? [];
      hosts.set(host, rules);
      for (const { path = "/", pathType, backend } of http?.paths ?? []) {
        const exact = pathType === "Exact";
        const found = backendOf(backend, namespace, toHttps);
        if (found && !rules.some((rule) => rule.path === path && rule.exact === exact))
          rules.push({ path, exact, backend: found });
      }
    }
    for (const { hosts: names = [], secretName } of spec?.tls ?? []) {
      if (!secretName) continue;
      for (const name of names.length > 0 ? names : [""]) {
        if (!certificates.has(name)) certificates.set(name, `${namespace}/${secretName}`);
      }
    }
    defaultBackend ??= backendOf(spec?.defaultBackend, namespace, toHttps);
  }
  for (const rules of hosts.values()) rules.sort(byPrecedence);
  return { hosts, certificates, ...(defaultBackend && { defaultBackend }) };
}

/** The backend for a request; undefined: no rule. `host` may carry a port, `path` a query. */
export function route(table: RoutingTable, host: string, path: string): Backend | undefined {
  const bare = path.replace(/[?#].*$/s, "");
  for (const name of hostCandidates(host)) {
    const found = table.hosts.get(name)?.find((rule) => pathMatches(rule, bare));
    if (found) return found.backend;
  }
  return table.defaultBackend;
}

/** The Secret for a server name; undefined: none has it. */
export function certificateFor(table: RoutingTable, serverName: string): string | undefined {
  for (const name of hostCandidates(serverName)) {
    const found = table.certificates.get(name);
    if (found) return found;
  }
  return undefined;
}

/** The name itself, the wildcard that covers just its first label, and "every host". */
function hostCandidates(host: string): string[] {
  const name = host.replace(/:\d+$/, "").toLowerCase();
  const dot = name.indexOf(".");
  return [name, ...(dot > 0 ? [`*${name.slice(dot)}`] : []), ""];
}

/** Prefixes match whole elements: /a matches /a and /a/b, not /ab. */
function pathMatches(rule: PathRule, path: string): boolean {
  if (rule.exact) return path === rule.path;
  const prefix = rule.path.replace(/\/+$/, "");
  return path === prefix || path.startsWith(`${prefix}/`);
}

function byPrecedence(one: PathRule, other: PathRule): number {
  return other.path.length - one.path.length || Number(other.exact) - Number(one.exact);
}

function byAge(one: k8s.Ingress, other: k8s.Ingress): number {
  const key = ({ metadata }: k8s.Ingress) =>
    `${metadata?.creationTimestamp ?? ""} ${metadata?.namespace}/${metadata?.name}`;
  return key(one) < key(other) ? -1 : 1;
}

function backendOf(backend: k8s.IngressBackend | undefined, namespace: string, toHttps: boolean): Backend | undefined {
  const common = { namespace, ...(toHttps && { toHttps }) };
  if (backend?.resource)
    return { ...common, service: "", port: 0, resource: `${backend.resource.kind} ${backend.resource.name}` };
  const { name, port } = backend?.service ?? {};
  const number = port?.number ?? port?.name;
  return name && number !== undefined ? { ...common, service: name, port: number } : undefined;
}
