import { existsSync, readFileSync } from "node:fs";
import { instanceDirs, invalidArgument, ipFamilyOf, type LogLevel } from "../base/index.ts";
import { DOCKER_KEYS, NO_DOCKER_SETTINGS, type DockerSettings } from "./docker-settings.ts";

/**
 * What the daemon is told, from (later wins): the configuration file, the environment, flags. The file has the names of Docker's daemon.json
 * where there is one, so that an existing one can be used as it is.
 */
export interface DaemonConfig {
  readonly instance: string;
  readonly dataDir: string;
  readonly runtimeDir: string;
  readonly logLevel: LogLevel;
  /** Groups that may use the socket; the first that exists on the machine is taken. */
  readonly socketGroups: readonly string[];
  /** `tcp://ADDRESS:PORT`, each only with all of `tls`. */
  readonly tcpHosts: readonly string[];
  readonly tls?: { readonly ca: string; readonly cert: string; readonly key: string };
  readonly registryMirrors: readonly string[];
  readonly insecureRegistries: readonly string[];
  readonly dns: readonly string[];
  readonly addressPools: ReadonlyArray<{ readonly base: string; readonly size: number }>;
  readonly defaultRuntime: string;
  /** `ADDRESS:PORT` where the images are served as an OCI registry; not served when left out. */
  readonly registryListen?: string;
  /** Fetch from upstream what the registry is asked for and has not. */
  readonly registryPullThrough: boolean;
  /** This instance is a node of another one's cluster, by what stands in this file (join.ts). */
  readonly joinFile?: string;
  /** In place of Docker's `/etc/docker/certs.d`. */
  readonly certsDir?: string;
  /** Whether this instance is a Kubernetes cluster too. */
  readonly kubernetes: boolean;
  /** Flags of the API server by upstream's names (services/cluster/api-server-flags.ts). */
  readonly apiServer?: Readonly<Record<string, string>>;
  /** A KubeletConfiguration's fields (node/kubelet/configuration.ts). */
  readonly kubelet: Readonly<Record<string, unknown>>;
  /** Whether images, containers and a real node are there; a cluster without them has only simulated nodes. */
  readonly engine: boolean;
  /** `10.X.0.0/16`, or with an IPv6 /48 behind a comma; Services: any range, or one of each family. */
  readonly podCidr?: string;
  readonly serviceCidr?: string;
  /** Servers for zones of their own, by the zone's name: the cluster's DNS asks them. */
  readonly stubDomains?: Readonly<Record<string, readonly string[]>>;
  /** Both address families, in ranges of the instance's own. */
  readonly ipv6?: boolean;
  /** The instance has at least so many nodes on this machine; those of last time when left out. */
  readonly nodes?: number;
  readonly simulatedNodes: number;
  /** Times of simulated Pods' stages (src/node/simulated/README.md). */
  readonly simulatedStagesFile?: string;
  /** docs/adr/0070; milliseconds, 0 for upstream's behaviour. */
  readonly kubeletPortWaitMs?: number;
  readonly kubeletDrainWaitMs?: number;
  /** CNI plugins make the Pods' network instead of berth. */
  readonly cni?: { readonly confDir: string; readonly binDir: string };
  readonly runtimes: Readonly<Record<string, { readonly path: string }>>;
  /** What containers and networks get that say nothing themselves. */
  readonly docker: DockerSettings;
}

type Env = Readonly<Record<string, string | undefined>>;
type Reader = (value: unknown, key: string) => Partial<DaemonConfig>;

const text = (value: unknown, key: string): string => {
  if (typeof value === "string") return value;
  throw invalidArgument(`configuration: "${key}" must be a text`);
};
const texts = (value: unknown, key: string): string[] => {
  if (Array.isArray(value) && value.every((item) => typeof item === "string")) return value;
  throw invalidArgument(`configuration: "${key}" must be a list of texts`);
};
/** As many as a machine's addresses are planned for (node/overlay). */
const MAX_LOCAL_NODES = 32;
/** Upstream's largest supported cluster. */
const MAX_SIMULATED_NODES = 5_000;
const nodeCount = (value: unknown, key: string): number => {
  if (Number.isInteger(Number(value)) && Number(value) >= 0 && Number(value) <= MAX_SIMULATED_NODES)
    return Number(value);
  throw invalidArgument(`configuration: "${key}" must be a number from 0 to ${MAX_SIMULATED_NODES}`);
};
const localNodeCount = (value: unknown, key: string): number => {
  if (Number.isInteger(Number(value)) && Number(value) >= 1 && Number(value) <= MAX_LOCAL_NODES) return Number(value);
  throw invalidArgument(`configuration: "${key}" must be a number from 1 to ${MAX_LOCAL_NODES}`);
};
const milliseconds = (value: unknown, key: string): number => {
  if (typeof value === "number" && value >= 0 && value <= 600_000) return value;
  throw invalidArgument(`configuration: "${key}" must be milliseconds, 0 to 600000`);
};
const objectOf = <T>(value: unknown, key: string, what: string): Record<string, T> => {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, T>;
  throw invalidArgument(`configuration: "${key}" must be an object of ${what}`);
};
const stubDomains = (value: unknown, key: string): Record<string, string[]> =>
  Object.fromEntries(
    Object.entries(objectOf(value, key, "lists of addresses")).map(([zone, servers]) => {
      const addresses = texts(servers, `${key}.${zone}`);
      const bare = (address: string) => address.replace(/^\[(.+)\]:\d+$/, "$1").replace(/^([^:]+):\d+$/, "$1");
      const wrong = addresses.find((address) => ipFamilyOf(bare(address)) === undefined);
      if (wrong !== undefined || addresses.length === 0)
        throw invalidArgument(`configuration: "${key}.${zone}" must be addresses of name servers`);
      return [zone.toLowerCase().replace(/\.$/, ""), addresses];
    }),
  );
const logLevel = (value: unknown, key: string): LogLevel => {
  if (["debug", "info", "warn", "error"].includes(value as string)) return value as LogLevel;
  throw invalidArgument(`configuration: "${key}" must be one of debug, info, warn, error`);
};

const DEFAULT_CNI_BIN = "/usr/lib/cni";

/** Every key of the file, and how it is read. */
const KEYS: Readonly<Record<string, Reader>> = {
  "log-level": (value, key) => ({ logLevel: logLevel(value, key) }),
  group: (value, key) => ({ socketGroups: [text(value, key)] }),
  hosts: (value, key) => ({ tcpHosts: texts(value, key).filter((host) => host.startsWith("tcp://")) }),
  "registry-mirrors": (value, key) => ({ registryMirrors: texts(value, key) }),
  "insecure-registries": (value, key) => ({ insecureRegistries: texts(value, key) }),
  dns: (value, key) => ({ dns: texts(value, key) }),
  "default-runtime": (value, key) => ({ defaultRuntime: text(value, key) }),
  runtimes: (value) => ({ runtimes: value as DaemonConfig["runtimes"] }),
  "default-address-pools": (value) => ({ addressPools: value as DaemonConfig["addressPools"] }),
  "registry-listen": (value, key) => ({ registryListen: text(value, key) }),
  "registry-pull-through": (value) => ({ registryPullThrough: value === true }),
  "cni-conf-dir": () => ({}),
  "cni-bin-dir": () => ({}),
  engine: (value) => ({ engine: value !== false }),
  ipv6: (value) => ({ ipv6: value === true }),
  "pod-cidr": (value, key) => ({ podCidr: text(value, key) }),
  "service-cidr": (value, key) => ({ serviceCidr: text(value, key) }),
  "stub-domains": (value, key) => ({ stubDomains: stubDomains(value, key) }),
  nodes: (value, key) => ({ nodes: localNodeCount(value, key) }),
  "simulated-nodes": (value, key) => ({ simulatedNodes: nodeCount(value, key) }),
  "simulated-stages": (value, key) => ({ simulatedStagesFile: text(value, key) }),
  "kubelet-port-wait": (value, key) => ({ kubeletPortWaitMs: milliseconds(value, key) }),
  "kubelet-drain-wait": (value, key) => ({ kubeletDrainWaitMs: milliseconds(value, key) }),
  "api-server": (value, key) => ({ apiServer: objectOf(value, key, "flags") }),
  kubelet: (value, key) => ({ kubelet: objectOf(value, key, "fields") }),
  kubernetes: (value) => ({ kubernetes: value !== false }),
  tlscacert: () => ({}),
  tlscert: () => ({}),
  tlskey: () => ({}),
  tlsverify: () => ({}),
};

function instanceName(env: Env): string {
  const name = env["BERTH_INSTANCE"] || "default";
  if (!/^[a-z0-9][a-z0-9-]{0,31}$/.test(name)) {
    throw invalidArgument(`invalid instance name "${name}"`, {
      hint: "1 to 32 of a-z, 0-9 and -, beginning with a letter or digit",
    });
  }
  return name;
}

/** Throws invalidArgument that names the file and the key. */
export function loadConfig(env: Env, flags: Partial<DaemonConfig> = {}): DaemonConfig {
  const file = env["BERTH_CONFIG"] ?? "/etc/berth/daemon.json";
  const raw = existsSync(file) ? parseFile(file) : {};
  const fromFile: Partial<DaemonConfig> = {};
  let docker = NO_DOCKER_SETTINGS;
  for (const [key, value] of Object.entries(raw)) {
    const dockers = DOCKER_KEYS[key];
    if (dockers) {
      docker = { ...docker, ...dockers(value, key, docker) };
      continue;
    }
    const read = KEYS[key];
    if (!read) throw invalidArgument(`configuration: unknown key "${key}" in ${file}`);
    Object.assign(fromFile, read(value, key));
  }
  const instance = flags.instance ?? instanceName(env);
  const config: DaemonConfig = {
    instance,
    ...instanceDirs(instance, env),
    logLevel: logLevel(env["BERTH_LOG_LEVEL"] ?? "info", "BERTH_LOG_LEVEL"),
    socketGroups: ["berth", "docker"],
    tcpHosts: [],
    registryMirrors: [],
    insecureRegistries: [],
    dns: [],
    addressPools: [],
    defaultRuntime: "crun",
    registryListen: env["BERTH_REGISTRY_LISTEN"] || undefined,
    registryPullThrough: false,
    kubernetes: true,
    kubelet: {},
    engine: true,
    simulatedNodes: 0,
    runtimes: {},
    docker,
    tls: tlsOf(raw),
    cni: cniOf(raw),
    ...(docker.debug ? { logLevel: "debug" as const } : {}),
    ...fromFile,
    ...mirrorsOf(env),
    ...(env["BERTH_ENGINE"] === undefined ? {} : { engine: env["BERTH_ENGINE"] !== "0" }),
    ...(env["BERTH_SIMULATED_NODES"]
      ? { simulatedNodes: nodeCount(env["BERTH_SIMULATED_NODES"], "BERTH_SIMULATED_NODES") }
      : {}),
    ...(env["BERTH_JOIN"] ? { joinFile: env["BERTH_JOIN"] } : {}),
    ...(env["BERTH_IPV6"] === "1" ? { ipv6: true } : {}),
    ...(env["BERTH_POD_CIDR"] ? { podCidr: env["BERTH_POD_CIDR"] } : {}),
    ...(env["BERTH_SERVICE_CIDR"] ? { serviceCidr: env["BERTH_SERVICE_CIDR"] } : {}),
    ...(env["BERTH_NODES"] ? { nodes: localNodeCount(env["BERTH_NODES"], "BERTH_NODES") } : {}),
    ...(env["BERTH_SIMULATED_STAGES"] ? { simulatedStagesFile: env["BERTH_SIMULATED_STAGES"] } : {}),
    ...(env["BERTH_KUBERNETES"] === undefined ? {} : { kubernetes: env["BERTH_KUBERNETES"] !== "0" }),
    ...(env["BERTH_POD_MANIFEST_PATH"]
      ? { kubelet: { ...fromFile.kubelet, staticPodPath: env["BERTH_POD_MANIFEST_PATH"] } }
      : {}),
    ...flags,
  };
  if (config.tcpHosts.length > 0 && !config.tls) {
    throw invalidArgument("configuration: a tcp:// host needs tlscacert, tlscert and tlskey", {
      hint: "whoever reaches the API is root on this machine, so it is served over TCP only to client certificates",
    });
  }
  return config;
}

function parseFile(file: string): Record<string, unknown> {
  try {
    return JSON.parse(readFileSync(file, "utf8")) as Record<string, unknown>;
  } catch (error) {
    throw invalidArgument(`configuration: ${file} is not JSON`, { cause: error });
  }
}

function tlsOf(raw: Record<string, unknown>): DaemonConfig["tls"] {
  const { tlscacert: ca, tlscert: cert, tlskey: key } = raw;
  return ca && cert && key
    ? { ca: text(ca, "tlscacert"), cert: text(cert, "tlscert"), key: text(key, "tlskey") }
    : undefined;
}

function cniOf(raw: Record<string, unknown>): DaemonConfig["cni"] {
  const { "cni-conf-dir": confDir, "cni-bin-dir": binDir = DEFAULT_CNI_BIN } = raw;
  return confDir === undefined
    ? undefined
    : { confDir: text(confDir, "cni-conf-dir"), binDir: text(binDir, "cni-bin-dir") };
}

/** A mirror for Docker Hub from the environment, space-separated: for machines that are set up by it. */
function mirrorsOf(env: Env): Partial<DaemonConfig> {
  const mirrors = env["BERTH_REGISTRY_MIRRORS"]?.split(/\s+/).filter(Boolean);
  return mirrors?.length ? { registryMirrors: mirrors } : {};
}
