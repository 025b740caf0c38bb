import { invalidArgument } from "../../../base/index.ts";
import type { DockerContainerConfig, DockerHostConfig } from "../../../api/index.ts";
import type { PortBinding } from "../../network/index.ts";

/** `-p`, `-P` and EXPOSE as bindings for the network. Pure. Throws invalidArgument. */
export function portBindings(config: DockerContainerConfig, host: DockerHostConfig): PortBinding[] {
  const result: PortBinding[] = [];
  for (const [key, bindings] of Object.entries(host.PortBindings ?? {})) {
    const port = parsePort(key);
    const list = bindings?.length ? bindings : [{}];
    for (const { HostIp, HostPort } of list) {
      const [first, last] = parseRange(HostPort ?? "");
      result.push({ ...port, hostAddress: HostIp || undefined, hostPortFirst: first, hostPortLast: last });
    }
  }
  if (host.PublishAllPorts) {
    const bound = new Set(Object.keys(host.PortBindings ?? {}));
    for (const key of Object.keys(config.ExposedPorts ?? {})) {
      if (!bound.has(key)) result.push({ ...parsePort(key), hostPortFirst: 0, hostPortLast: 0 });
    }
  }
  return result;
}

/** `80`, `80/tcp`. */
function parsePort(key: string): { containerPort: number; protocol: "tcp" | "udp" | "sctp" } {
  const match = /^(\d{1,5})(?:\/(tcp|udp|sctp))?$/i.exec(key);
  const containerPort = Number(match?.[1]);
  if (!match || containerPort < 1 || containerPort > 65_535)
    throw invalidArgument(`invalid port specification: "${key}"`);
  return { containerPort, protocol: (match[2]?.toLowerCase() ?? "tcp") as "tcp" | "udp" | "sctp" };
}

function parseRange(text: string): [number, number] {
  if (text === "") return [0, 0];
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text);
  const first = Number(match?.[1]);
  const last = Number(match?.[2] ?? first);
  if (!match || last < first || last > 65_535) throw invalidArgument(`invalid host port specification: "${text}"`);
  return [first, last];
}
