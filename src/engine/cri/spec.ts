import type { cri, OciMount, OciNamespaceType, OciResources, OciSpec } from "../../api/index.ts";
import { failedPrecondition } from "../../base/index.ts";
import { baseSpec, effectiveCapabilities } from "../container/index.ts";
import type { PodUsers } from "./state.ts";
import type { Image } from "../image/index.ts";

/** Everything that goes into a container's OCI spec. */
export interface SpecInputs {
  readonly config: cri.ContainerConfig;
  readonly image: Image;
  readonly rootfs: string;
  readonly user: {
    readonly uid: number;
    readonly gid: number;
    readonly additionalGids: readonly number[];
    readonly home: string;
  };
  /** Paths of the sandbox's namespaces; undefined: the host's. */
  readonly namespaces: { readonly net?: string; readonly ipc?: string; readonly uts?: string; readonly pid?: string };
  /** For namespace mode TARGET: the process whose pid namespace to join. */
  readonly targetPid?: number;
  readonly hostname: string;
  /** The Pod's own users. */
  readonly users?: PodUsers;
  readonly resolvConf: string | undefined;
  readonly shm: string | undefined;
  readonly cgroupsPath: string;
  readonly seccomp: OciSpec["linux"]["seccomp"] | undefined;
  readonly imageMounts: readonly OciMount[];
  readonly oomScoreAdjFloor: number;
  /** Capabilities that this daemon has to give; the rest is left out, since asking for it fails the whole container. */
  readonly available: ReadonlySet<string>;
}

/** The command of a container: its own words before the image's, by Kubernetes' rules. */
function commandOf(config: cri.ContainerConfig, image: Image): string[] {
  const { Entrypoint, Cmd } = image.config.config ?? {};
  const entrypoint = config.command.length > 0 ? config.command : (Entrypoint ?? []);
  const args = config.args.length > 0 ? config.args : config.command.length > 0 ? [] : (Cmd ?? []);
  const command = [...entrypoint, ...args];
  if (command.length === 0)
    throw failedPrecondition("no command specified", {
      hint: "give the container a command, or the image an ENTRYPOINT or CMD",
    });
  return command;
}

export function containerSpec(inputs: SpecInputs): OciSpec {
  const { config, image, user } = inputs;
  const security = config.linux.securityContext;
  const { capabilities: wanted, privileged } = security;
  const capabilities = effectiveCapabilities(wanted?.addCapabilities, wanted?.dropCapabilities, privileged).filter(
    (name) => inputs.available.has(name),
  );
  const base = baseSpec({
    rootfs: inputs.rootfs,
    args: commandOf(config, image),
    env: environment(inputs),
    cwd: config.workingDir || image.config.config?.WorkingDir || "/",
    network: inputs.namespaces.net ?? "host",
    privileged,
    capabilities,
    readonlyRootfs: security.readonlyRootfs,
  });
  const ambient = (wanted?.addAmbientCapabilities ?? []).map((name) =>
    name.startsWith("CAP_") ? name : `CAP_${name}`,
  );
  return {
    ...base,
    ...(inputs.users ? { hostname: inputs.hostname } : {}),
    process: {
      ...base.process,
      terminal: config.tty,
      user: { uid: user.uid, gid: user.gid, additionalGids: [...user.additionalGids] },
      noNewPrivileges: security.noNewPrivs,
      oomScoreAdj: Math.max(inputs.oomScoreAdjFloor, config.linux.resources.oomScoreAdj ?? 0),
      capabilities:
        user.uid === 0
          ? base.process.capabilities
          : { bounding: capabilities, effective: ambient, permitted: ambient, inheritable: ambient, ambient },
    },
    mounts: mounts(base.mounts, inputs),
    linux: {
      ...base.linux,
      namespaces: namespaces(inputs),
      ...(inputs.users
        ? { uidMappings: inputs.users.uids.map(ociMapping), gidMappings: inputs.users.gids.map(ociMapping) }
        : {}),
      cgroupsPath: inputs.cgroupsPath,
      resources: { ...base.linux.resources, ...ociResources(config.linux.resources) },
      maskedPaths: security.maskedPaths,
      readonlyPaths: security.readonlyPaths,
      seccomp: privileged ? undefined : inputs.seccomp,
      rootfsPropagation: config.mounts.some((mount) => mount.propagation === "BIDIRECTIONAL")
        ? "rshared"
        : config.mounts.some((mount) => mount.propagation === "HOST_TO_CONTAINER")
          ? "rslave"
          : undefined,
    },
  };
}

function environment({ config, image, user, hostname }: SpecInputs): string[] {
  const env = new Map<string, string>();
  const set = (pair: string) => {
    const at = pair.indexOf("=");
    env.set(at < 0 ? pair : pair.slice(0, at), at < 0 ? "" : pair.slice(at + 1));
  };
  for (const pair of image.config.config?.Env ?? ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"])
    set(pair);
  env.set("HOSTNAME", hostname);
  if (config.tty) env.set("TERM", "xterm");
  for (const { key, value } of config.envs) env.set(key, value);
  if (!env.has("HOME")) env.set("HOME", user.home);
  return [...env].map(([key, value]) => `${key}=${value}`);
}

function ociMapping({ containerId, hostId, size }: PodUsers["uids"][number]) {
  return { containerID: containerId, hostID: hostId, size };
}

function namespaces({ config, namespaces: shared, targetPid, users }: SpecInputs): OciSpec["linux"]["namespaces"] {
  const options = config.linux.securityContext.namespaceOptions;
  const result: Array<{ type: OciNamespaceType; path?: string }> = [{ type: "mount" }];
  const join = (type: OciNamespaceType, path: string | undefined) => path !== undefined && result.push({ type, path });
  join("network", shared.net);
  join("ipc", shared.ipc);
  join("uts", shared.uts);
  if (users) result.push({ type: "user", path: users.pin }, { type: "ipc" }, { type: "uts" });
  if (options.pid === "CONTAINER") result.push({ type: "pid" });
  else if (options.pid === "POD") join("pid", shared.pid);
  else if (options.pid === "TARGET") join("pid", `/proc/${targetPid}/ns/pid`);
  return result;
}

const PROPAGATION = { PRIVATE: "rprivate", HOST_TO_CONTAINER: "rslave", BIDIRECTIONAL: "rshared" } as const;

function mounts(base: readonly OciMount[], { config, resolvConf, shm, imageMounts }: SpecInputs): OciMount[] {
  const bind = (source: string, destination: string, options: string[]): OciMount => ({
    destination,
    type: "bind",
    source,
    options: ["rbind", ...options],
  });
  const own = [
    ...config.mounts
      .filter((mount) => !mount.image)
      .map((mount) =>
        bind(mount.hostPath, mount.containerPath, [PROPAGATION[mount.propagation], mount.readonly ? "ro" : "rw"]),
      ),
    ...imageMounts,
  ];
  const taken = new Set(own.map((mount) => mount.destination));
  const standard = [
    ...base.map((mount) =>
      mount.destination === "/dev/shm" && shm
        ? bind(shm, "/dev/shm", ["rprivate", "rw", "nosuid", "noexec", "nodev"])
        : mount,
    ),
    ...(resolvConf
      ? [bind(resolvConf, "/etc/resolv.conf", ["rprivate", config.linux.securityContext.readonlyRootfs ? "ro" : "rw"])]
      : []),
  ].filter((mount) => !taken.has(mount.destination));
  // A mount inside another must come after it.
  return [...standard, ...own.toSorted((a, b) => a.destination.split("/").length - b.destination.split("/").length)];
}

export function ociResources(resources: cri.LinuxContainerResources): OciResources {
  const {
    cpuShares,
    cpuQuota,
    cpuPeriod,
    cpusetCpus,
    cpusetMems,
    memoryLimitInBytes,
    memorySwapLimitInBytes,
    pidsLimit,
    unified,
  } = resources;
  return {
    cpu: {
      ...(cpuShares ? { shares: cpuShares } : {}),
      ...(cpuQuota ? { quota: cpuQuota, period: cpuPeriod ?? 100_000 } : {}),
      ...(cpusetCpus ? { cpus: cpusetCpus } : {}),
      ...(cpusetMems ? { mems: cpusetMems } : {}),
    },
    ...(memoryLimitInBytes
      ? { memory: { limit: memoryLimitInBytes, ...(memorySwapLimitInBytes ? { swap: memorySwapLimitInBytes } : {}) } }
      : {}),
    ...(pidsLimit ? { pids: { limit: pidsLimit } } : {}),
    ...(unified && Object.keys(unified).length > 0 ? { unified } : {}),
  };
}
