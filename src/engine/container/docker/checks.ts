import { invalidArgument } from "../../../base/index.ts";
import type { DockerContainerConfig, DockerHostConfig } from "../../../api/index.ts";
import { effectiveCapabilities } from "../spec/capabilities.ts";
import { checkLogOptions } from "./log-files.ts";
import { checkResources } from "./resources.ts";
import { parseSignal } from "./signals.ts";
import { securityOptions } from "./spec.ts";

const MAX_OOM_SCORE = 1000;
const MIN_HEALTH_NANO = 1_000_000;

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
  checkModes(host);
  checkHealth(config.Healthcheck ?? {});
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

/** Also of `docker update`. */
export function checkRestart(host: DockerHostConfig): void {
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

function checkModes({ IpcMode = "", Isolation = "", OomScoreAdj = 0 }: DockerHostConfig): void {
  const isIpc = ["", "none", "private", "shareable", "host"].includes(IpcMode) || /^container:./.test(IpcMode);
  if (!isIpc) throw invalidArgument(`invalid IPC mode: ${IpcMode}`);
  if (!["", "default"].includes(Isolation.toLowerCase()))
    throw invalidArgument(`invalid isolation: ${JSON.stringify(Isolation)} - linux only supports 'default'`);
  if (Math.abs(OomScoreAdj) > MAX_OOM_SCORE)
    throw invalidArgument(`Invalid value ${OomScoreAdj}, range for oom score adj is [-1000, 1000]`);
}

/** Times are in nanoseconds; 0 means what the image or the daemon says. */
function checkHealth(health: NonNullable<DockerContainerConfig["Healthcheck"]>): void {
  for (const name of ["Interval", "Timeout", "StartPeriod", "StartInterval"] as const) {
    const nano = health[name] ?? 0;
    if (nano !== 0 && nano < MIN_HEALTH_NANO) throw invalidArgument(`${name} in Healthcheck cannot be less than 1ms`);
  }
  if ((health.Retries ?? 0) < 0) throw invalidArgument("Retries in Healthcheck cannot be negative");
}
