import type { cri } from "../../api/index.ts";
import type { Wire } from "../grpc/index.ts";

const wrap = (value: number | undefined) => (value === undefined ? undefined : { value });

/** This project's requests as CRI messages, for proto-loader to encode: wrapped numbers, prefixed enums, bytes. */
export function sandboxConfig(config: cri.PodSandboxConfig): object {
  const { securityContext, resources, ...linux } = config.linux;
  const { runAsUser, runAsGroup, ...security } = securityContext;
  return {
    ...config,
    linux: {
      ...linux,
      ...(resources ? { resources: linuxResources(resources) } : {}),
      securityContext: {
        ...security,
        namespaceOptions: namespaceOptions(security.namespaceOptions),
        runAsUser: wrap(runAsUser),
        runAsGroup: wrap(runAsGroup),
        seccomp: profile(security.seccomp),
        apparmor: profile(security.apparmor),
      },
    },
  };
}

export function containerConfig(config: cri.ContainerConfig): object {
  const { securityContext, resources } = config.linux;
  const { runAsUser, runAsGroup, supplementalGroupsPolicy, ...security } = securityContext;
  const { stopSignal, cdiDevices } = config;
  return {
    ...config,
    ...(cdiDevices ? { CDIDevices: cdiDevices } : {}),
    envs: config.envs.map(({ key, value }) => ({ key, value: Buffer.from(value) })),
    mounts: config.mounts.map((mount) => ({ ...mount, propagation: `PROPAGATION_${mount.propagation}` })),
    ...(stopSignal ? { stopSignal: stopSignal.startsWith("SIG") ? stopSignal : `SIG${stopSignal}` } : {}),
    linux: {
      resources: linuxResources(resources),
      securityContext: {
        ...security,
        namespaceOptions: namespaceOptions(security.namespaceOptions),
        runAsUser: wrap(runAsUser),
        runAsGroup: wrap(runAsGroup),
        ...(supplementalGroupsPolicy ? { supplementalGroupsPolicy } : {}),
        seccomp: profile(security.seccomp),
        apparmor: profile(security.apparmor),
      },
    },
  };
}

export function linuxResources(resources: cri.LinuxContainerResources): object {
  const { pidsLimit: _, ...known } = resources;
  return known;
}

/** A filter's state is a message of its own. */
export function filter(wanted: { readonly state?: string } | undefined): Wire {
  const { state, ...rest } = wanted ?? {};
  return { filter: { ...rest, ...(state ? { state: { state } } : {}) } };
}

function namespaceOptions({ userns, ...options }: cri.NamespaceOptions): object {
  return { ...options, ...(userns ? { usernsOptions: userns } : {}) };
}

function profile(profile: cri.SecurityProfile | undefined): object | undefined {
  return profile && { profileType: profile.type, localhostRef: profile.localhostRef ?? "" };
}
