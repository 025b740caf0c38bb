import { release } from "node:os";
import path from "node:path";
import { invalidArgument } from "../../../base/index.ts";
import {
  MASKED_PATHS,
  READONLY_PATHS,
  type OciDevice,
  type OciMount,
  type OciNamespaceType,
  type OciSeccomp,
  type OciSpec,
} from "../../../api/index.ts";
import { defaultSeccompProfile, type IdMapping } from "../../../host/index.ts";
import { baseSpec, DEFAULT_DEVICE_RULES, DEFAULT_SHM_BYTES, defaultMounts } from "../spec/defaults.ts";
import { boundingSet, effectiveCapabilities } from "../spec/capabilities.ts";
import { ociRlimits } from "../spec/ulimits.ts";
import type { ResolvedUser } from "../spec/user.ts";
import type { ContainerRecord, MountRecord } from "./record.ts";
import { ociDevices, ociResources } from "./resources.ts";
import { seccompOption, type SeccompFacts } from "./seccomp-option.ts";
import type { RemappedUsers } from "./userns.ts";

/** What a spec takes besides the record: what was found out or made for this start. */
export interface SpecInputs {
  readonly rootfs: string;
  readonly user: ResolvedUser;
  readonly env: readonly string[];
  /** Namespaces to join instead of making them; `host` for none. */
  readonly namespaces: Readonly<Partial<Record<"network" | "pid" | "ipc" | "uts", string>>>;
  /** hostname, hosts and resolv.conf, by their place in the container. */
  readonly files: Readonly<Record<string, string>>;
  /** Where the mounts' sources are, in the record's order. */
  readonly sources: readonly string[];
  /** The user namespace to join; undefined: the host's. */
  readonly users?: RemappedUsers;
  readonly initPath?: string;
  readonly cgroupVersion: 1 | 2;
  /** Capabilities that this daemon has to give. */
  readonly procStatus: string;
  /** What a privileged container finds in /dev. */
  readonly hostDevices: readonly OciDevice[];
}

/** A record as an OCI spec. Warnings name what this host can't do and was left out. */
export function dockerSpec(record: ContainerRecord, inputs: SpecInputs): { spec: OciSpec; warnings: string[] } {
  const { config, hostConfig: host } = record;
  const warnings: string[] = [];
  const privileged = host.Privileged ?? false;
  const available = boundingSet(inputs.procStatus);
  const wanted = effectiveCapabilities(host.CapAdd, host.CapDrop, privileged);
  const capabilities = wanted.filter((name) => available.has(name));
  const spec = baseSpec({
    rootfs: inputs.rootfs,
    args: inputs.initPath ? [INIT_TARGET, "--", ...record.args] : record.args,
    env: inputs.env,
    cwd: config.WorkingDir || "/",
    hostname: inputs.namespaces.uts === undefined ? config.Hostname : undefined,
    privileged,
    capabilities,
    readonlyRootfs: host.ReadonlyRootfs,
  });
  const security = securityOptions(host.SecurityOpt ?? [], { capabilities, kernel: release() });
  spec.domainname = inputs.namespaces.uts === undefined ? config.Domainname || undefined : undefined;
  setProcess(record, inputs, spec, security.noNewPrivileges, warnings);
  spec.linux.namespaces = namespaces(record, inputs);
  spec.mounts = mounts(record, inputs, privileged);
  if (inputs.users) {
    spec.linux.uidMappings = inputs.users.mappings.uids.map(ociMapping);
    spec.linux.gidMappings = inputs.users.mappings.gids.map(ociMapping);
  }
  const { devices, rules } = ociDevices(host);
  spec.linux.devices = privileged ? [...inputs.hostDevices] : devices;
  spec.linux.resources = {
    ...ociResources(host),
    devices: privileged ? [{ allow: true, access: "rwm" }] : [...DEFAULT_DEVICE_RULES, ...rules],
  };
  if (Object.keys(host.Sysctls ?? {}).length > 0) spec.linux.sysctl = { ...host.Sysctls };
  const shown = privileged || security.unmasked;
  spec.linux.maskedPaths = shown ? [] : [...(host.MaskedPaths ?? MASKED_PATHS)];
  spec.linux.readonlyPaths = shown ? [] : [...(host.ReadonlyPaths ?? READONLY_PATHS)];
  if (!privileged) {
    spec.linux.seccomp =
      security.seccomp === "default" ? defaultSeccompProfile(capabilities, process.arch) : security.seccomp;
  }
  const shared = spec.mounts.some((mount) => mount.options?.some((option) => /^r?shared$/.test(option)));
  const slave = spec.mounts.some((mount) => mount.options?.some((option) => /^r?slave$/.test(option)));
  if (shared || slave) spec.linux.rootfsPropagation = shared ? "shared" : "slave";
  if (host.Annotations) spec.annotations = { ...host.Annotations };
  if (host.CgroupParent) spec.linux.cgroupsPath = path.join("/", host.CgroupParent, record.id);
  return { spec, warnings };
}

const ociMapping = ({ containerId, hostId, size }: IdMapping) => ({ containerID: containerId, hostID: hostId, size });

const INIT_TARGET = "/sbin/docker-init";

function setProcess(
  record: ContainerRecord,
  inputs: SpecInputs,
  spec: OciSpec,
  noNewPrivileges: boolean,
  warnings: string[],
): void {
  const { config, hostConfig: host } = record;
  const { uid, gid, additionalGids } = inputs.user;
  spec.process.user = { uid, gid, additionalGids: [...additionalGids] };
  spec.process.terminal = config.Tty ?? false;
  if (config.Tty && host.ConsoleSize?.[0]) {
    spec.process.consoleSize = { height: host.ConsoleSize[0], width: host.ConsoleSize[1] ?? 0 };
  }
  spec.process.noNewPrivileges = noNewPrivileges;
  if (uid !== 0 && spec.process.capabilities) {
    spec.process.capabilities = { ...spec.process.capabilities, effective: [], permitted: [] };
  }
  const mayRaise = boundingSet(inputs.procStatus).has("CAP_SYS_RESOURCE");
  if (host.OomScoreAdj) {
    if (host.OomScoreAdj < 0 && !mayRaise)
      warnings.push("a negative --oom-score-adj needs CAP_SYS_RESOURCE, which this host lacks");
    else spec.process.oomScoreAdj = host.OomScoreAdj;
  }
  const ulimits = (host.Ulimits ?? []).map(({ Name, Soft, Hard }) => ({ name: Name, soft: Soft, hard: Hard }));
  const { rlimits, lowered } = ociRlimits(ulimits, mayRaise);
  spec.process.rlimits = rlimits;
  for (const { name, most } of lowered) warnings.push(`--ulimit ${name}: this host allows at most ${most}`);
}

function namespaces(record: ContainerRecord, inputs: SpecInputs): OciSpec["linux"]["namespaces"] {
  const list: Array<{ type: OciNamespaceType; path?: string }> = [{ type: "mount" }];
  for (const type of ["network", "pid", "ipc", "uts"] as const) {
    const join = inputs.namespaces[type];
    if (join !== "host") list.push({ type, path: join });
  }
  if (inputs.users) list.push({ type: "user", path: inputs.users.userns });
  // Docker's defaults: private on v2, the host's on v1.
  const mode = record.hostConfig.CgroupnsMode || (inputs.cgroupVersion === 2 ? "private" : "host");
  if (mode === "private" && !record.hostConfig.Privileged) list.push({ type: "cgroup" });
  return list;
}

function mounts(record: ContainerRecord, inputs: SpecInputs, privileged: boolean): OciMount[] {
  const { hostConfig: host } = record;
  const targets = new Set(record.mounts.map((mount) => mount.Destination));
  const base = defaultMounts({
    privileged,
    shmBytes: host.ShmSize || DEFAULT_SHM_BYTES,
    shmSource: inputs.namespaces.ipc === "host" ? "/dev/shm" : inputs.files["/dev/shm"],
  }).filter((mount) => !targets.has(mount.destination));
  const files = Object.entries(inputs.files)
    .filter(([target]) => target !== "/dev/shm" && !targets.has(target))
    .map(([target, source]) => ({ destination: target, type: "bind", source, options: ["rbind", "rprivate"] }));
  const init = inputs.initPath
    ? [{ destination: INIT_TARGET, type: "bind", source: inputs.initPath, options: ["bind", "ro"] }]
    : [];
  const wanted = record.mounts.map((mount, index) => userMount(mount, inputs.sources[index] ?? mount.Source));
  return [...base, ...files, ...init, ...wanted];
}

function userMount(mount: MountRecord, source: string): OciMount {
  const mode = mount.RW ? "rw" : "ro";
  if (mount.Type === "tmpfs") {
    const given = mount.options ?? [];
    const defaults = ["noexec", "nosuid", "nodev"].filter((name) => !given.includes(name.slice(2)));
    return { destination: mount.Destination, type: "tmpfs", source: "tmpfs", options: [...defaults, ...given, mode] };
  }
  const bind = mount.nonRecursive ? "bind" : "rbind";
  return {
    destination: mount.Destination,
    type: "bind",
    source,
    options: [bind, mode, mount.Type === "bind" ? mount.Propagation || "rprivate" : "rprivate"],
  };
}

/** When only the form is checked. */
const NO_FACTS: SeccompFacts = { capabilities: [], kernel: "0.0" };

interface SecurityOptions {
  noNewPrivileges: boolean;
  unmasked: boolean;
  seccomp: OciSeccomp | "default" | undefined;
}

/** `--security-opt`. The client sends a seccomp profile's content, not its path. */
export function securityOptions(options: readonly string[], host: SeccompFacts = NO_FACTS): SecurityOptions {
  const result: SecurityOptions = { noNewPrivileges: false, unmasked: false, seccomp: "default" };
  for (const option of options) {
    const [, name = "", value = ""] = /^([^=:]+)(?:[=:]([\s\S]*))?$/.exec(option) ?? [];
    if (name === "no-new-privileges" && ["", "true", "false"].includes(value))
      result.noNewPrivileges = value !== "false";
    else if (name === "systempaths" && value === "unconfined") result.unmasked = true;
    else if (name === "seccomp") result.seccomp = seccompOption(value, host);
    else if (name !== "apparmor" && name !== "label" && name !== "writable-cgroups")
      throw invalidArgument(`invalid --security-opt 1: "${option}"`);
  }
  return result;
}

/** Environment: PATH, HOSTNAME, TERM for a terminal, HOME; what image and user say wins. */
export function environment(record: ContainerRecord, home: string): string[] {
  const defaults = [
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    `HOSTNAME=${record.config.Hostname ?? ""}`,
    ...(record.config.Tty ? ["TERM=xterm"] : []),
  ];
  return mergeEnv([...defaults, ...(record.config.Env ?? [])], [`HOME=${home}`]);
}

/** Later entries win; one without `=` takes the name away. `ifAbsent` only adds. */
export function mergeEnv(entries: readonly string[], ifAbsent: readonly string[] = []): string[] {
  const merged = new Map<string, string>();
  const nameOf = (entry: string) => entry.slice(0, entry.includes("=") ? entry.indexOf("=") : undefined);
  for (const entry of entries) {
    if (entry.includes("=")) merged.set(nameOf(entry), entry);
    else merged.delete(entry);
  }
  for (const entry of ifAbsent) if (!merged.has(nameOf(entry))) merged.set(nameOf(entry), entry);
  return [...merged.values()];
}
