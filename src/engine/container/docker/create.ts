import { randomHex, type Random } from "../../../base/index.ts";
import type {
  DockerContainerConfig,
  DockerCreateBody,
  DockerHostConfig,
  OciImageRunConfig,
} from "../../../api/index.ts";
import type { ContainerDefaults } from "./deps.ts";
import { DEFAULT_SHM_BYTES } from "../spec/defaults.ts";
import { mergeEnv } from "./spec.ts";

/** The user's configuration over the image's, as Docker merges them. Pure. */
export function mergeConfig(body: DockerContainerConfig, image: OciImageRunConfig): DockerContainerConfig {
  const entrypoint = asList(body.Entrypoint);
  const command = asList(body.Cmd);
  // A new entrypoint drops the image's command; `[""]` clears the image's entrypoint.
  const useImage = entrypoint === undefined || entrypoint.length === 0;
  const imageEntrypoint = useImage ? (image.Entrypoint ?? undefined) : undefined;
  const finalEntrypoint = useImage
    ? imageEntrypoint
    : entrypoint.length === 1 && entrypoint[0] === ""
      ? undefined
      : entrypoint;
  const finalCommand = command?.length ? command : useImage ? (image.Cmd ?? undefined) : undefined;
  return {
    ...body,
    User: body.User || image.User || "",
    Env: mergeEnv([...(image.Env ?? []), ...(body.Env ?? [])]),
    Cmd: finalCommand ?? null,
    Entrypoint: finalEntrypoint ?? null,
    WorkingDir: body.WorkingDir || image.WorkingDir || "",
    Labels: { ...image.Labels, ...body.Labels },
    ExposedPorts: { ...image.ExposedPorts, ...body.ExposedPorts },
    Volumes: { ...image.Volumes, ...body.Volumes },
    StopSignal: body.StopSignal || image.StopSignal || undefined,
    StopTimeout: body.StopTimeout ?? image.StopTimeout ?? undefined,
    Healthcheck: mergeHealth(body.Healthcheck, image.Healthcheck),
    Shell: body.Shell ?? image.Shell ?? undefined,
    OnBuild: image.OnBuild ?? null,
  };
}

function mergeHealth(
  own: DockerContainerConfig["Healthcheck"],
  image: OciImageRunConfig["Healthcheck"],
): DockerContainerConfig["Healthcheck"] {
  if (!own) return image;
  if (!image || own.Test?.length) return own;
  return {
    ...image,
    ...Object.fromEntries(Object.entries(own).filter(([, value]) => Boolean(value))),
    Test: image.Test,
  };
}

function asList(value: string[] | string | null | undefined): string[] | undefined {
  if (value === null || value === undefined) return undefined;
  return typeof value === "string" ? [value] : value;
}

/** What inspect shows where the user said nothing. */
export function completeHostConfig(
  body: DockerCreateBody,
  defaultRuntime: string,
  cgroupVersion: 1 | 2,
  defaults: ContainerDefaults = {},
): DockerHostConfig {
  const host = body.HostConfig ?? {};
  const given = new Set((host.Ulimits ?? []).map(({ Name }) => Name));
  const ulimits = [...(host.Ulimits ?? []), ...(defaults.ulimits ?? []).filter(({ Name }) => !given.has(Name))];
  const mode = host.NetworkMode || "default";
  return {
    ...host,
    NetworkMode: mode === "default" ? "bridge" : mode,
    RestartPolicy: {
      Name: host.RestartPolicy?.Name || "no",
      MaximumRetryCount: host.RestartPolicy?.MaximumRetryCount ?? 0,
    },
    LogConfig: logConfig(host, defaults),
    IpcMode: host.IpcMode || defaults.ipcMode || "private",
    CgroupnsMode:
      host.CgroupnsMode ||
      (host.Privileged ? "host" : defaults.cgroupnsMode || (cgroupVersion === 2 ? "private" : "host")),
    CgroupParent: host.CgroupParent || defaults.cgroupParent,
    ShmSize: host.ShmSize || defaults.shmBytes || DEFAULT_SHM_BYTES,
    Init: host.Init ?? defaults.init,
    Ulimits: ulimits.length > 0 ? ulimits : host.Ulimits,
    SecurityOpt: withDefaultSecurity(host, defaults),
    Runtime: host.Runtime || defaultRuntime,
    PortBindings: host.PortBindings ?? {},
    // Docker stores --cpus as it came and a negative pids limit as none.
    PidsLimit: host.PidsLimit && host.PidsLimit > 0 ? host.PidsLimit : null,
  };
}

/** As dockerd: the daemon's driver for those that name none; its options for those that use that driver, under their own. */
function logConfig({ LogConfig }: DockerHostConfig, defaults: ContainerDefaults): DockerHostConfig["LogConfig"] {
  const type = defaults.logDriver ?? "json-file";
  const Type = LogConfig?.Type || type;
  return { Type, Config: { ...(Type === type ? defaults.logOptions : {}), ...LogConfig?.Config } };
}

/** What of `--security-opt` the daemon's configuration says for containers that don't. */
function withDefaultSecurity(host: DockerHostConfig, defaults: ContainerDefaults): DockerHostConfig["SecurityOpt"] {
  const given = host.SecurityOpt ?? [];
  const says = (name: string) => given.some((option) => option.split(/[=:]/)[0] === name);
  const added = [
    ...(defaults.noNewPrivileges && !says("no-new-privileges") ? ["no-new-privileges"] : []),
    ...(defaults.seccompProfile && !host.Privileged && !says("seccomp") ? [`seccomp=${defaults.seccompProfile}`] : []),
  ];
  return added.length > 0 ? [...given, ...added] : host.SecurityOpt;
}

export const newContainerId = (random: Random) => randomHex(random, 32);
