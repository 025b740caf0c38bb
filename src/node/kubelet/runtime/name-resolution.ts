import { readFile } from "node:fs/promises";
import type { cri, Pod } from "../pod/imports.ts";

export interface DnsOptions {
  readonly clusterDomain: string;
  readonly clusterDns: readonly string[];
  /** The node's own resolv.conf. */
  readonly resolvConf: string;
}

/** Limits of glibc's resolver, which upstream enforces too. */
const MAX_SERVERS = 3;
const MAX_SEARCHES = 32;

/** What goes into a Pod's resolv.conf. https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/#pod-s-dns-policy */
export async function podDns(pod: Pod, options: DnsOptions): Promise<cri.DnsConfig> {
  const policy = pod.spec?.dnsPolicy ?? "ClusterFirst";
  const host = parseResolvConf(await readFile(options.resolvConf, "utf8").catch(() => ""));
  const cluster = (policy === "ClusterFirst" && !pod.spec?.hostNetwork) || policy === "ClusterFirstWithHostNet";
  let base: cri.DnsConfig;
  if (policy === "None") base = { servers: [], searches: [], options: [] };
  else if (cluster && options.clusterDns.length > 0) {
    const domain = options.clusterDomain;
    base = {
      servers: [...options.clusterDns],
      searches: [`${pod.metadata.namespace}.svc.${domain}`, `svc.${domain}`, domain, ...host.searches],
      options: ["ndots:5"],
    };
  } else base = host;
  return merge(base, pod);
}

function merge(base: cri.DnsConfig, pod: Pod): cri.DnsConfig {
  const own = pod.spec?.dnsConfig;
  const optionsByName = new Map(base.options.map((option) => [option.split(":")[0]!, option]));
  for (const option of own?.options ?? [])
    optionsByName.set(option.name ?? "", option.value ? `${option.name}:${option.value}` : (option.name ?? ""));
  return {
    servers: [...new Set([...base.servers, ...(own?.nameservers ?? [])])].slice(0, MAX_SERVERS),
    searches: [...new Set([...base.searches, ...(own?.searches ?? [])])].slice(0, MAX_SEARCHES),
    options: [...optionsByName.values()],
  };
}

function parseResolvConf(text: string): cri.DnsConfig {
  const result: cri.DnsConfig = { servers: [], searches: [], options: [] };
  for (const line of text.split("\n")) {
    const [keyword, ...words] = line
      .replace(/[#;].*$/, "")
      .trim()
      .split(/\s+/);
    if (keyword === "nameserver" && words[0]) result.servers.push(words[0]);
    else if (keyword === "search") result.searches = words;
    else if (keyword === "options") result.options.push(...words);
  }
  return result;
}

/** The hosts file that the kubelet keeps for a Pod, in upstream's layout. */
export function hostsFile(
  pod: Pod,
  podIps: readonly string[],
  hostname: string,
  clusterDomain: string,
  hostHosts: string,
): string {
  const lines = pod.spec?.hostNetwork
    ? ["# Kubernetes-managed hosts file (host network).", hostHosts.trimEnd()]
    : [
        "# Kubernetes-managed hosts file.",
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        "fe00::0\tip6-localnet",
        "fe00::0\tip6-mcastprefix",
        "fe00::1\tip6-allnodes",
        "fe00::2\tip6-allrouters",
      ];
  if (!pod.spec?.hostNetwork) {
    const subdomain = pod.spec?.subdomain;
    const full = subdomain ? `${hostname}.${subdomain}.${pod.metadata.namespace}.svc.${clusterDomain}\t` : "";
    for (const ip of podIps) lines.push(`${ip}\t${full}${hostname}`);
  }
  const aliases = pod.spec?.hostAliases ?? [];
  if (aliases.length > 0)
    lines.push(
      "",
      "# Entries added by HostAliases.",
      ...aliases.map((alias) => `${alias.ip}\t${(alias.hostnames ?? []).join("\t")}`),
    );
  return lines.join("\n") + "\n";
}
