import type { cri } from "../../../api/index.ts";

/** This project's types as messages of the wire, for proto-loader to encode. */
export function sandboxStatus(status: cri.PodSandboxStatus): object {
  const { network, linux, ...rest } = status;
  return {
    ...rest,
    network: { ip: network.ip, additionalIps: network.additionalIps.map((ip) => ({ ip })) },
    linux: { namespaces: { options: linux.namespaces } },
  };
}

export function containerStatus(status: cri.ContainerStatus): object {
  const { user, resources, mounts, stopSignal, ...rest } = status;
  return {
    ...rest,
    ...(user ? { user: { linux: user } } : {}),
    ...(resources ? { resources: { linux: resources } } : {}),
    ...(stopSignal ? { stopSignal } : {}),
    mounts: mounts.map((mount) => ({ ...mount, propagation: `PROPAGATION_${mount.propagation}` })),
  };
}

export function image({ uid, spec, ...rest }: cri.CriImage): object {
  return { ...rest, size: rest.sizeBytes, ...(uid === undefined ? {} : { uid: { value: uid } }), spec };
}

const wrap = (value: number) => ({ value: Math.max(0, Math.round(value)) });

/** Every figure but the timestamp is a message of its own, so that absence can be told from nought. */
function wrapped(figures: object): object {
  return Object.fromEntries(
    Object.entries(figures).map(([key, value]) => [key, key === "timestamp" ? value : wrap(value as number)]),
  );
}

export function containerStats({ attributes, cpu, memory, writableLayer }: cri.ContainerStats): object {
  return { attributes, cpu: wrapped(cpu), memory: wrapped(memory), writableLayer: filesystem(writableLayer) };
}

export function podStats({ attributes, cpu, memory, network, process, containers }: cri.PodSandboxStats): object {
  const link = ({ name, ...counters }: cri.NetworkInterfaceUsage) => ({ name, ...wrapped(counters) });
  return {
    attributes,
    linux: {
      cpu: wrapped(cpu),
      memory: wrapped(memory),
      network: {
        timestamp: network.timestamp,
        defaultInterface: link(network.defaultInterface),
        interfaces: network.interfaces.map(link),
      },
      process: wrapped(process),
      containers: containers.map(containerStats),
    },
  };
}

export function filesystem({ timestamp, mountpoint, usedBytes, inodesUsed }: cri.FilesystemUsage): object {
  return { timestamp, fsId: { mountpoint }, usedBytes: wrap(usedBytes), inodesUsed: wrap(inodesUsed) };
}
