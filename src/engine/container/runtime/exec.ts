import { existsSync } from "node:fs";
import { mkdir, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { canceled, messageOf, MiB, notFound } from "../../../base/index.ts";
import {
  crunExec,
  execMonitored,
  groupless,
  leaveGroups,
  resizeTerminal,
  runtimeError,
  signalProcess,
  type MonitorRequest,
} from "../../../host/index.ts";
import type { Core } from "./core.ts";
import type { ContainerRequest, ExecRequest, RuntimeExec } from "./types.ts";

/** What an exec needs of the container it goes into. */
export interface ExecTarget {
  readonly core: Core;
  readonly request: ContainerRequest;
  readonly binary: string;
  readonly bundle: string;
  readonly monitor: MonitorRequest;
  /** crun processes that stand beside execs; not the container's own. */
  readonly runtimePids: Set<number>;
}

/** Whatever ended without an exit code. */
const EXIT_UNKNOWN = 137;
/** Where a container's memory is less than this, crun doesn't come into its groups: it takes some. */
const ROOM_FOR_RUNTIME_BYTES = 64 * MiB;
/** An exec that runs longer than this gets its crun moved out of the container's groups. */
const LONG_MS = 250;

/**
 * Runs a process in a container. Under a monitor, as containers are, when it has a terminal, when it is to outlive the daemon (`detached`) and with
 * runtimes other than crun; else by crun alone (ADR 0131), which is half the work.
 */
export function execIn(target: ExecTarget, request: ExecRequest): Promise<RuntimeExec> {
  const direct = path.basename(target.binary) === "crun";
  const monitored = request.process.terminal || request.detached || request.timeoutSeconds !== undefined;
  return direct && !monitored ? unmonitored(target, request) : monitoredExec(target, request);
}

async function unmonitored(target: ExecTarget, request: ExecRequest): Promise<RuntimeExec> {
  const { core, runtimePids } = target;
  const stateDir = core.layout.runtimeState(target.binary);
  const groups = joinable(target);
  const base = { crun: target.binary, id: target.request.id, process: JSON.stringify(request.process) };
  const common = { ...base, stdin: request.stdin ?? false };
  const started = await (
    groups.length === 0
      ? crunExec({ ...common, stateDir, join: [], prefix: await core.prefix() })
      : crunExec({
          ...common,
          stateDir: groupless(stateDir, target.request.id, path.join(target.bundle, EXEC_STATE)),
          join: groups.map((group) => path.join(group, "tasks")),
          prefix: [],
        })
  ).catch((error: unknown) => {
    throw runtimeError(messageOf(error), request.process.args[0] ?? "", "exec");
  });
  runtimePids.add(started.runtimePid);
  const outside = groups.length === 0 ? [] : directoriesOf(core, core.cgroupParent);
  const timer = core.ctx.clock.after(LONG_MS, () => void leaveGroups(started.runtimePid, outside.map(procs)));
  const exit = started.exitCode.then((code) => {
    timer.cancel();
    runtimePids.delete(started.runtimePid);
    return { code, oomKilled: false, atMs: core.ctx.clock.nowMs() };
  });
  return {
    id: request.id,
    pid: started.pid,
    stream: started.stream,
    // Without a terminal there is nothing whose size could change.
    resize: () => Promise.resolve(),
    kill: async (signal) => {
      if (!signalProcess(started.pid, signal)) throw notFound(`exec ${request.id} is not running`);
    },
    wait: (signal) => orAborted(exit, signal),
  };
}

const procs = (group: string): string => path.join(group, "cgroup.procs");

/** Below a bundle: crun's state of the container as execs see it that joined the groups themselves. */
export const EXEC_STATE = "exec-state";

/** The container's v1 groups, when crun may be in them for a moment: not where it could be refused room. */
function joinable({ core, request }: ExecTarget): string[] {
  if (core.cgroups.mode === "unified") return [];
  const resources = request.spec.linux.resources;
  const memory = resources?.memory?.limit ?? -1;
  const narrow = (resources?.pids?.limit ?? -1) > 0 || (memory > 0 && memory < ROOM_FOR_RUNTIME_BYTES);
  if (narrow) return [];
  return directoriesOf(core, request.spec.linux.cgroupsPath!);
}

/** Where a group is in every v1 hierarchy that has it. */
function directoriesOf(core: Core, cgroupPath: string): string[] {
  const group = core.cgroup(cgroupPath);
  const directories = [...core.cgroups.controllers.keys()].map((controller) => group.directory(controller)!);
  return [...new Set(directories)].filter((directory) => existsSync(directory));
}

async function monitoredExec(target: ExecTarget, request: ExecRequest): Promise<RuntimeExec> {
  const { core } = target;
  const bundle = path.join(target.bundle, "exec", request.id);
  await mkdir(bundle, { recursive: true, mode: 0o700 });
  const specPath = path.join(bundle, "process.json");
  const discard = () => rm(bundle, { recursive: true, force: true });
  try {
    await writeFile(specPath, JSON.stringify(request.process), { mode: 0o600 });
    const started = await execMonitored(
      {
        ...target.monitor,
        bundle,
        pidFile: path.join(bundle, "pid"),
        monitorPidFile: path.join(bundle, "conmon.pid"),
        exitDir: bundle,
        terminal: request.process.terminal ?? false,
        stdin: request.stdin ?? false,
        leaveStdinOpen: false,
        logPath: undefined,
        timeoutSeconds: request.timeoutSeconds,
        execSpecPath: specPath,
      },
      await core.prefix(),
    );
    const exit = started.exitCode.then(async (code) => {
      await discard();
      return { code: code < 0 ? EXIT_UNKNOWN : code & 0xff, oomKilled: false, atMs: core.ctx.clock.nowMs() };
    });
    exit.catch(() => {});
    return {
      id: request.id,
      pid: started.pid,
      stream: started.attach,
      resize: (size) => resizeTerminal(bundle, size.columns, size.rows),
      kill: async (signal) => {
        if (!signalProcess(started.pid, signal)) throw notFound(`exec ${request.id} is not running`);
      },
      wait: (signal) => orAborted(exit, signal),
    };
  } catch (error) {
    await discard();
    throw runtimeError(messageOf(error), request.process.args[0] ?? "", "exec");
  }
}

/** The promise, unless the signal comes first: then `canceled`. */
export function orAborted<T>(promise: Promise<T>, signal?: AbortSignal): Promise<T> {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(canceled("waiting was canceled", { cause: signal.reason }));
    if (signal.aborted) return onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
