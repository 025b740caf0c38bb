import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { invalidArgument } from "../../base/index.ts";

/** A network configuration list (https://github.com/containernetworking/cni/blob/main/SPEC.md#section-1-network-configuration-format). */
export interface Conflist {
  readonly cniVersion: string;
  readonly name: string;
  readonly plugins: readonly PluginConfig[];
}

export interface PluginConfig {
  readonly type: string;
  readonly capabilities?: Readonly<Record<string, boolean>>;
  readonly [field: string]: unknown;
}

const DEFAULT_VERSION = "0.4.0";
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;

/** The first configuration of a folder in order of file names, as every runtime chooses it; undefined where there is none. */
export async function findConflist(folder: string): Promise<Conflist | undefined> {
  const names = await readdir(folder).catch(() => []);
  const [first] = names.filter((name) => /\.(conflist|conf|json)$/.test(name)).sort();
  if (first === undefined) return undefined;
  const file = path.join(folder, first);
  return parseConflist(await readFile(file, "utf8"), file);
}

/** Throws invalidArgument that names the file. A single plugin's configuration (`.conf`) becomes a list of one. */
export function parseConflist(text: string, file: string): Conflist {
  let raw: Record<string, unknown>;
  try {
    raw = JSON.parse(text) as Record<string, unknown>;
  } catch (cause) {
    throw invalidArgument(`${file} is not JSON`, { cause });
  }
  const plugins = (raw["plugins"] ?? [raw]) as PluginConfig[];
  if (typeof raw["name"] !== "string" || !NAME.test(raw["name"]))
    throw invalidArgument(`${file}: "name" is missing or no network name`);
  if (!Array.isArray(plugins) || plugins.length === 0)
    throw invalidArgument(`${file}: "plugins" must be a list of at least one`);
  for (const plugin of plugins) {
    if (typeof plugin.type !== "string" || !NAME.test(plugin.type))
      throw invalidArgument(`${file}: a plugin's "type" is missing or no program's name`);
  }
  return { cniVersion: (raw["cniVersion"] as string | undefined) ?? DEFAULT_VERSION, name: raw["name"], plugins };
}

export interface Attachment {
  readonly containerId: string;
  readonly netnsPath: string;
  readonly podNamespace: string;
  readonly podName: string;
  readonly podUid: string;
  readonly portMappings: ReadonlyArray<{
    readonly hostPort: number;
    readonly containerPort: number;
    readonly protocol: string;
    readonly hostIP?: string;
  }>;
}

/** What a plugin reads on stdin: its own configuration with the list's name and version, what its capabilities ask for, and the result before it. */
export function pluginInput(list: Conflist, plugin: PluginConfig, attachment: Attachment, previous: unknown): string {
  const { capabilities, ...own } = plugin;
  const runtimeConfig: Record<string, unknown> = {};
  if (capabilities?.["portMappings"] && attachment.portMappings.length > 0)
    runtimeConfig["portMappings"] = attachment.portMappings;
  return JSON.stringify({
    ...own,
    cniVersion: list.cniVersion,
    name: list.name,
    ...(Object.keys(runtimeConfig).length > 0 ? { runtimeConfig } : {}),
    ...(previous === undefined ? {} : { prevResult: previous }),
  });
}

/** A plugin's environment. https://github.com/containernetworking/cni/blob/main/SPEC.md#parameters */
export function pluginEnv(command: "ADD" | "DEL", binDir: string, attachment: Attachment): Record<string, string> {
  const args = {
    IgnoreUnknown: "1",
    K8S_POD_NAMESPACE: attachment.podNamespace,
    K8S_POD_NAME: attachment.podName,
    K8S_POD_INFRA_CONTAINER_ID: attachment.containerId,
    K8S_POD_UID: attachment.podUid,
  };
  return {
    CNI_COMMAND: command,
    CNI_CONTAINERID: attachment.containerId,
    CNI_NETNS: attachment.netnsPath,
    CNI_IFNAME: "eth0",
    CNI_PATH: binDir,
    CNI_ARGS: Object.entries(args)
      .map(([key, value]) => `${key}=${value}`)
      .join(";"),
    PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  };
}

/** The Pod's addresses in the last plugin's result: those of interfaces inside the sandbox. */
export function addressesOf(result: unknown): string[] {
  const { ips = [], interfaces = [] } = (result ?? {}) as {
    ips?: Array<{ address: string; interface?: number }>;
    interfaces?: Array<{ sandbox?: string }>;
  };
  return ips
    .filter((ip) => ip.interface === undefined || Boolean(interfaces[ip.interface]?.sandbox))
    .map((ip) => ip.address.split("/")[0]!);
}
