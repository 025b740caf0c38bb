import type { k8s } from "../../../api/index.ts";
import type { Call, EndpointTools } from "../../../apiserver/index.ts";
import { invalidArgument, notFound, unavailable } from "../../../base/index.ts";

/** Where a proxied request goes. */
export interface Target {
  readonly scheme: "http" | "https";
  readonly host: string;
  readonly port: number;
  /** PEM: by whom its certificate is signed, and what we show. Without it nobody's certificate is looked at. */
  readonly tls?: { readonly ca: string; readonly cert: string; readonly key: string };
}

interface Wanted {
  readonly scheme: "http" | "https";
  readonly name: string;
  /** A number or, for services, a name; empty: the first. */
  readonly port: string;
}

/** `NAME`, `NAME:PORT` or `SCHEME:NAME:PORT`, as it stands in the path. */
export function splitName(text: string): Wanted {
  const parts = text.split(":");
  const [scheme, name, port] =
    parts.length === 1 ? ["", parts[0], ""] : parts.length === 2 ? ["", parts[0], parts[1]] : parts;
  const known = scheme === "" || scheme === "http" || scheme === "https";
  if (parts.length > 3 || !known || !name) throw invalidArgument(`invalid proxy request ${JSON.stringify(text)}`);
  return { scheme: scheme === "https" ? "https" : "http", name, port: port ?? "" };
}

/** The Pod's own address; without a port, the first that it declares. */
export async function podTarget(call: Call, tools: EndpointTools): Promise<Target> {
  const { scheme, name, port } = splitName(call.info.name);
  const pod = await read<k8s.Pod>(call, tools, "pods", name);
  const host = proxyable(pod.status?.podIP, `address not allowed`);
  const declared = pod.spec?.containers.flatMap(({ ports = [] }) => ports.map(({ containerPort }) => containerPort))[0];
  return { scheme, host, port: portNumber(port) ?? declared ?? DEFAULT_PORTS[scheme] };
}

/** One of the ready endpoints of the Service, chosen by `pick` from 0 to 1. */
export async function serviceTarget(call: Call, tools: EndpointTools, pick: () => number): Promise<Target> {
  const { scheme, name, port } = splitName(call.info.name);
  const service = await read<k8s.Service>(call, tools, "services", name);
  const ports = service.spec?.ports ?? [];
  const wanted = /^\d+$/.test(port)
    ? ports.find((entry) => entry.port === Number(port))
    : port === ""
      ? ports[0]
      : ports.find((entry) => entry.name === port);
  if (!wanted) throw unavailable(`no service port ${JSON.stringify(port)} found for service ${JSON.stringify(name)}`);
  const endpoints = await read<k8s.Endpoints>(call, tools, "endpoints", name);
  const reachable = (endpoints.subsets ?? []).flatMap(({ addresses = [], ports: open = [] }) => {
    const match = open.find((entry) => (entry.name ?? "") === (wanted.name ?? ""));
    return match ? addresses.map(({ ip }) => ({ ip, port: match.port })) : [];
  });
  const chosen = reachable[Math.floor(pick() * reachable.length)];
  if (!chosen) throw unavailable(`no endpoints available for service ${JSON.stringify(call.info.name)}`);
  return { scheme, host: proxyable(chosen.ip, "address not allowed"), port: chosen.port };
}

const DEFAULT_PORTS = { http: 80, https: 443 };

function portNumber(text: string): number | undefined {
  if (text === "") return undefined;
  const port = Number(text);
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    throw invalidArgument(`invalid port ${JSON.stringify(text)}: must be a number between 1 and 65535`);
  return port;
}

/** Whoever may write a status could otherwise reach what listens on this machine's loopback. */
function proxyable(ip: string | undefined, problem: string): string {
  if (!ip) throw unavailable(`${problem}: the pod has no address yet`);
  const isLocal = /^127\.|^0\.|^169\.254\.|^22[4-9]\.|^23\d\.|^::1?$|^::ffff:|^fe[89ab]|^ff/i.test(ip);
  if (isLocal) throw invalidArgument(`${problem}: ${ip}`);
  return ip;
}

async function read<T>(call: Call, tools: EndpointTools, resource: string, name: string): Promise<T> {
  const response = await tools.loopback({
    method: "GET",
    path: `/api/v1/namespaces/${call.info.namespace}/${resource}/${encodeURIComponent(name)}`,
    query: new URLSearchParams(),
    headers: { accept: "application/json" },
  });
  if (response.status === 404)
    throw notFound(`${resource} ${JSON.stringify(name)} not found`, { details: { kind: resource, name } });
  return (response.object ?? JSON.parse(Buffer.from(response.body!).toString())) as T;
}
