/**
 * conmon's command line (https://github.com/containers/conmon, docs/conmon.8.md). Pure: what a monitor is to do, to argv.
 */
export interface MonitorRequest {
  readonly conmon: string;
  readonly runtime: string;
  readonly runtimeArgs: readonly string[];
  readonly id: string;
  /** Directory with config.json; conmon puts `attach`, `ctl` and `winsz` there. */
  readonly bundle: string;
  readonly pidFile: string;
  readonly monitorPidFile: string;
  /** The exit code appears here in a file named after `id`. */
  readonly exitDir: string;
  readonly terminal: boolean;
  readonly stdin: boolean;
  readonly leaveStdinOpen: boolean;
  /** CRI-format log; absent: none. */
  readonly logPath?: string;
  readonly logMaxBytes?: number;
  readonly timeoutSeconds?: number;
  /** For exec: a file with the OCI process. */
  readonly execSpecPath?: string;
}

export function monitorArgv(request: MonitorRequest): string[] {
  const flags: string[] = [];
  if (request.terminal) flags.push("-t");
  if (request.stdin) flags.push("-i");
  if (request.stdin && request.leaveStdinOpen) flags.push("--leave-stdin-open");
  if (request.logMaxBytes !== undefined) flags.push("--log-size-max", String(request.logMaxBytes));
  if (request.timeoutSeconds !== undefined) flags.push("-T", String(request.timeoutSeconds));
  if (request.execSpecPath !== undefined) {
    flags.push("-e", "--exec-attach", "--exec-process-spec", request.execSpecPath);
  }
  return [
    request.conmon,
    "--api-version",
    "1",
    "-c",
    request.id,
    "-u",
    request.id,
    "-n",
    request.id,
    "-r",
    request.runtime,
    ...request.runtimeArgs.flatMap((arg) => ["--runtime-arg", arg]),
    "-b",
    request.bundle,
    "-p",
    request.pidFile,
    "--conmon-pidfile",
    request.monitorPidFile,
    "--exit-dir",
    request.exitDir,
    "--persist-dir",
    request.bundle,
    "--full-attach",
    "-l",
    request.logPath === undefined ? "none" : `k8s-file:${request.logPath}`,
    "--log-level",
    "error",
    ...flags,
  ];
}
