import { randomHex, invalidArgument, type Random } from "../../../base/index.ts";
import type {
  DockerContainerConfig,
  DockerCreateBody,
  DockerHostConfig,
  OciImageRunConfig,
} from "../../../api/index.ts";
import type { ContainerDefaults } from "./deps.ts";
import { effectiveCapabilities } from "../spec/capabilities.ts";
import { DEFAULT_SHM_BYTES } from "../spec/defaults.ts";
import { checkLogOptions } from "./log-files.ts";
import { checkResources } from "./resources.ts";
import { parseSignal } from "./signals.ts";
import { mergeEnv, securityOptions } from "./spec.ts";

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

/** Checks what can be checked without an image or the kernel. Throws invalidArgument in Docker's words. */
export function checkHostConfig(
  config: DockerContainerConfig,
  host: DockerHostConfig,
  runtimes: readonly string[],
): void {
  checkResources(host);
  effectiveCapabilities(host.CapAdd, host.CapDrop);
  securityOptions(host.SecurityOpt ?? []);
  checkRestart(host);
  if (Object.keys(host.StorageOpt ?? {}).length > 0) {
    throw invalidArgument("--storage-opt is supported only for overlay over xfs with 'pquota' mount option", {
      hint: "a container's own files have no limit of their own; put what may grow into a volume with a size",
    });
  }
  if (config.StopSignal) parseSignal(config.StopSignal);
  if (host.Runtime && !runtimes.includes(host.Runtime))
    throw invalidArgument(`unknown or invalid runtime name: ${host.Runtime}`);
  if (config.WorkingDir && !config.WorkingDir.startsWith("/"))
    throw invalidArgument(`the working directory '${config.WorkingDir}' is invalid, it needs to be an absolute path`);
  if (config.Hostname && config.Hostname.length > 64)
    throw invalidArgument(`invalid hostname format: ${config.Hostname}`);
  if (host.NetworkMode?.startsWith("container:") && config.Hostname && config.Hostname.length !== 12)
    throw invalidArgument("conflicting options: hostname and the network mode");
  for (const entry of config.Env ?? []) {
    if (entry === "" || entry.startsWith("=")) throw invalidArgument(`invalid environment variable: ${entry}`);
  }
  const log = host.LogConfig?.Type || "json-file";
  if (!["json-file", "local", "none"].includes(log))
    throw invalidArgument(`error looking up logging plugin ${log}: plugin "${log}" not found`);
  for (const name of Object.keys(host.LogConfig?.Config ?? {})) {
    if (
      ![
        "max-size",
        "max-file",
        "compress",
        "labels",
        "labels-regex",
        "env",
        "env-regex",
        "tag",
        "mode",
        "max-buffer-size",
      ].includes(name)
    )
      throw invalidArgument(`unknown log opt '${name}' for ${log} log driver`);
  }
  checkLogOptions(host.LogConfig ?? {});
}

function checkRestart(host: DockerHostConfig): void {
  const { Name = "", MaximumRetryCount = 0 } = host.RestartPolicy ?? {};
  if (!["", "no", "always", "unless-stopped", "on-failure"].includes(Name))
    throw invalidArgument(
      `invalid restart policy: unknown policy '${Name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'`,
    );
  if (MaximumRetryCount > 0 && Name !== "on-failure")
    throw invalidArgument("invalid restart policy: maximum retry count can only be used with 'on-failure'");
  if (MaximumRetryCount < 0) throw invalidArgument("invalid restart policy: maximum retry count cannot be negative");
  if (host.AutoRemove && Name !== "" && Name !== "no")
    throw invalidArgument("can't create 'AutoRemove' container with restart policy");
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
