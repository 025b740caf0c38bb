import type { cri } from "../../../api/index.ts";

/**
 * Messages of the wire as proto-loader hands them over (camelCase, enums by name, everything but messages filled with defaults) into this project's
 * types. Clients leave out whole messages; they get what the published API says is the default.
 */
// eslint-disable-next-line typescript/no-explicit-any -- The shape is the .proto's; what is read here is what is checked.
export type Wire = Record<string, any>;

const int = (wrapped: Wire | null | undefined): number | undefined => wrapped?.["value"] as number | undefined;
const optional = <K extends string, V>(key: K, value: V | undefined) =>
  (value === undefined ? {} : { [key]: value }) as { [P in K]?: V };

function namespaceOptions(options: Wire | null | undefined): cri.NamespaceOptions {
  return {
    network: options?.["network"] ?? "POD",
    pid: options?.["pid"] ?? "POD",
    ipc: options?.["ipc"] ?? "POD",
    ...(options?.["targetId"] ? { targetId: options["targetId"] } : {}),
  };
}

function profile(wire: Wire | null | undefined): cri.SecurityProfile | undefined {
  return wire
    ? { type: wire["profileType"], ...optional("localhostRef", wire["localhostRef"] || undefined) }
    : undefined;
}

export function resources(wire: Wire | null | undefined): cri.LinuxContainerResources {
  const { cpuPeriod, cpuQuota, cpuShares, memoryLimitInBytes, memorySwapLimitInBytes, oomScoreAdj } = wire ?? {};
  const numbers = { cpuPeriod, cpuQuota, cpuShares, memoryLimitInBytes, memorySwapLimitInBytes, oomScoreAdj };
  return {
    ...(Object.fromEntries(Object.entries(numbers).filter(([, value]) => value)) as cri.LinuxContainerResources),
    ...optional("cpusetCpus", wire?.["cpusetCpus"] || undefined),
    ...optional("cpusetMems", wire?.["cpusetMems"] || undefined),
    ...optional("unified", wire?.["unified"]),
  };
}

export function sandboxConfig(wire: Wire): cri.PodSandboxConfig {
  const { metadata, hostname, logDirectory, dnsConfig, portMappings, labels, annotations, linux } = wire;
  const security = linux?.securityContext;
  return {
    metadata,
    hostname,
    logDirectory,
    ...optional("dnsConfig", dnsConfig ?? undefined),
    portMappings,
    labels,
    annotations,
    linux: {
      cgroupParent: linux?.cgroupParent || "/cri",
      securityContext: {
        namespaceOptions: namespaceOptions(security?.namespaceOptions),
        supplementalGroups: security?.supplementalGroups ?? [],
        ...optional("runAsUser", int(security?.runAsUser)),
        ...optional("runAsGroup", int(security?.runAsGroup)),
        privileged: security?.privileged ?? false,
      },
      sysctls: linux?.sysctls ?? {},
      resources: resources(linux?.resources),
    },
  };
}

export function containerConfig(wire: Wire): cri.ContainerConfig {
  const { metadata, image, command, args, workingDir, envs, mounts, devices, labels, annotations, linux } = wire;
  return {
    metadata,
    image,
    command,
    args,
    workingDir,
    // Bytes on the wire, since an environment need not be UTF-8; here it is text.
    envs: (envs as Wire[]).map(({ key, value }) => ({ key, value: Buffer.from(value).toString() })),
    mounts: (mounts as Wire[]).map(mount),
    devices,
    ...optional("cdiDevices", wire["CDIDevices"] as Array<{ name: string }> | undefined),
    labels,
    annotations,
    logPath: wire["logPath"],
    stdin: wire["stdin"],
    stdinOnce: wire["stdinOnce"],
    tty: wire["tty"],
    ...(wire["stopSignal"] && wire["stopSignal"] !== "SIGNAL_RUNTIME_DEFAULT"
      ? { stopSignal: wire["stopSignal"] }
      : {}),
    linux: { resources: resources(linux?.resources), securityContext: securityContext(linux?.securityContext) },
  };
}

function mount(wire: Wire): cri.Mount {
  const { containerPath, hostPath, readonly, propagation, image, imageSubPath } = wire;
  return {
    containerPath,
    hostPath,
    readonly,
    propagation: String(propagation).replace("PROPAGATION_", "") as cri.Mount["propagation"],
    ...optional("image", image?.image ? image : undefined),
    ...optional("imageSubPath", imageSubPath || undefined),
  };
}

function securityContext(wire: Wire | null | undefined): cri.LinuxContainerSecurityContext {
  return {
    privileged: wire?.["privileged"] ?? false,
    ...optional("capabilities", wire?.["capabilities"] ?? undefined),
    namespaceOptions: namespaceOptions(wire?.["namespaceOptions"]),
    ...optional("runAsUser", int(wire?.["runAsUser"])),
    ...optional("runAsGroup", int(wire?.["runAsGroup"])),
    ...optional("runAsUsername", wire?.["runAsUsername"] || undefined),
    readonlyRootfs: wire?.["readonlyRootfs"] ?? false,
    supplementalGroups: wire?.["supplementalGroups"] ?? [],
    supplementalGroupsPolicy: wire?.["supplementalGroupsPolicy"] ?? "Merge",
    noNewPrivs: wire?.["noNewPrivs"] ?? false,
    maskedPaths: wire?.["maskedPaths"] ?? [],
    readonlyPaths: wire?.["readonlyPaths"] ?? [],
    ...optional("seccomp", profile(wire?.["seccomp"])),
  };
}

/** States are wrapped in a message of their own in filters. */
export function filter<F>(wire: Wire | null | undefined): F {
  return {
    ...optional("id", wire?.["id"] || undefined),
    ...optional("podSandboxId", wire?.["podSandboxId"] || undefined),
    ...optional("state", wire?.["state"]?.state),
    ...optional("labelSelector", wire?.["labelSelector"]),
  } as F;
}
