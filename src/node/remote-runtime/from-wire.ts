import type { cri } from "../../api/index.ts";
import type { Wire } from "../grpc/index.ts";

/** CRI answers, as proto-loader decodes them, as this project's types. What a runtime leaves out has the published default. */
const number = (wrapped: Wire | null | undefined): number => Number(wrapped?.["value"] ?? 0);

export function sandbox(wire: Wire): cri.PodSandbox {
  const { id, metadata, state, createdAt, labels, annotations, runtimeHandler } = wire;
  return { id, metadata, state, createdAt, labels: labels ?? {}, annotations: annotations ?? {}, runtimeHandler };
}

export function sandboxStatus(wire: Wire): cri.PodSandboxStatus {
  const options = wire["linux"]?.namespaces?.options;
  return {
    ...sandbox(wire),
    network: {
      ip: wire["network"]?.ip ?? "",
      additionalIps: ((wire["network"]?.additionalIps ?? []) as Wire[]).map(({ ip }) => ip as string),
    },
    linux: {
      namespaces: { network: options?.network ?? "POD", pid: options?.pid ?? "POD", ipc: options?.ipc ?? "POD" },
    },
  };
}

export function container(wire: Wire): cri.Container {
  const { id, podSandboxId, metadata, image: used, imageRef, imageId, state, createdAt, labels, annotations } = wire;
  return {
    id,
    podSandboxId: podSandboxId ?? "",
    metadata,
    image: used ?? { image: "" },
    imageRef,
    imageId: imageId || used?.image || imageRef,
    state,
    createdAt,
    labels: labels ?? {},
    annotations: annotations ?? {},
  };
}

/** `verbose` is the runtime's own JSON, in which containerd and CRI-O name the main process. */
export function containerStatus(wire: Wire, verbose: Readonly<Record<string, string>>): cri.ContainerStatus {
  const { startedAt, finishedAt, exitCode, reason, message, mounts, logPath, resources, user } = wire;
  return {
    ...container(wire),
    startedAt,
    finishedAt,
    exitCode,
    reason,
    message,
    mounts: ((mounts ?? []) as Wire[]).map((mount) => ({
      containerPath: mount["containerPath"],
      hostPath: mount["hostPath"],
      readonly: mount["readonly"],
      propagation: String(mount["propagation"]).replace("PROPAGATION_", "") as cri.Mount["propagation"],
    })),
    logPath,
    ...(resources?.linux ? { resources: resources.linux } : {}),
    ...(user?.linux ? { user: user.linux } : {}),
    pid: pidOf(verbose),
  };
}

function pidOf(verbose: Readonly<Record<string, string>>): number {
  try {
    return Number((JSON.parse(verbose["info"] ?? "{}") as { pid?: number }).pid ?? 0);
  } catch {
    return 0;
  }
}

export function image(wire: Wire): cri.CriImage {
  const { id, repoTags, repoDigests, size, uid, username, pinned, spec } = wire;
  return {
    id,
    repoTags,
    repoDigests,
    sizeBytes: Number(size),
    ...(uid ? { uid: number(uid) } : {}),
    username,
    pinned,
    spec: spec ?? { image: repoTags?.[0] ?? id },
    local: false,
  };
}

export function filesystem(wire: Wire | null | undefined): cri.FilesystemUsage {
  return {
    timestamp: Number(wire?.["timestamp"] ?? 0),
    mountpoint: wire?.["fsId"]?.mountpoint ?? "",
    usedBytes: number(wire?.["usedBytes"]),
    inodesUsed: number(wire?.["inodesUsed"]),
  };
}

export function containerStats(wire: Wire): cri.ContainerStats {
  const { attributes, writableLayer } = wire;
  return {
    attributes,
    cpu: cpu(wire["cpu"]),
    memory: memory(wire["memory"]),
    writableLayer: filesystem(writableLayer),
  };
}

function cpu(wire: Wire | null | undefined): cri.CpuUsage {
  return {
    timestamp: Number(wire?.["timestamp"] ?? 0),
    usageCoreNanoSeconds: number(wire?.["usageCoreNanoSeconds"]),
    usageNanoCores: number(wire?.["usageNanoCores"]),
  };
}

function memory(wire: Wire | null | undefined): cri.MemoryUsage {
  const working = number(wire?.["workingSetBytes"]);
  return {
    timestamp: Number(wire?.["timestamp"] ?? 0),
    workingSetBytes: working,
    availableBytes: number(wire?.["availableBytes"]),
    usageBytes: number(wire?.["usageBytes"]) || working,
    rssBytes: number(wire?.["rssBytes"]),
    pageFaults: number(wire?.["pageFaults"]),
    majorPageFaults: number(wire?.["majorPageFaults"]),
  };
}
