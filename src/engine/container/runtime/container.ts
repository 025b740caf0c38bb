import { existsSync } from "node:fs";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import {
  alreadyExists,
  canceled,
  failedPrecondition,
  hasCode,
  invalidArgument,
  messageOf,
  notFound,
  internal,
} from "../../../base/index.ts";
import type { OciResources, OciSpec } from "../../../api/index.ts";
import {
  cgroupStats,
  connectAttach,
  createMonitored,
  networkCounters,
  releaseExecFifo,
  reopenLog,
  resizeTerminal,
  run,
  runtimeError,
  signalProcess,
  startTimeOf,
  waitsToStart,
  type Cgroup,
  type MonitorRequest,
} from "../../../host/index.ts";
import type { Core } from "./core.ts";
import { EXEC_STATE, execIn, orAborted } from "./exec.ts";
import { readFacts, writeFacts } from "./facts.ts";
import type {
  AttachStream,
  ContainerRequest,
  ExecRequest,
  RuntimeContainer,
  RuntimeExec,
  RuntimeExit,
  RuntimeState,
  RuntimeStats,
  TtySize,
} from "./types.ts";

/** What stands in `facts.json` of a bundle: enough to take the container over after a restart. */
interface ContainerFacts {
  readonly sandboxId: string;
  readonly request: ContainerRequest;
  readonly pid: number;
  readonly startTime: number;
}

/** A process that vanished without its monitor leaving an exit code. */
const EXIT_UNKNOWN = 137;
const SIGKILL = 9;

/** A container of the `process` isolation: conmon over an OCI runtime. */
export class MonitoredContainer implements RuntimeContainer {
  readonly id: string;
  readonly request: ContainerRequest;
  readonly pid: number;
  readonly sandboxId: string;
  readonly #core: Core;
  readonly #startTime: number;
  readonly #cgroup: Cgroup;
  #state: RuntimeState = "created";
  #exit: RuntimeExit | undefined;
  #deleted = false;
  readonly #ended = new AbortController();
  readonly #runtimePids = new Set<number>();
  readonly #onDelete: (id: string) => void;
  readonly #exited: Promise<RuntimeExit>;

  private constructor(core: Core, facts: ContainerFacts, onDelete: (id: string) => void) {
    this.#core = core;
    this.request = facts.request;
    this.id = facts.request.id;
    this.pid = facts.pid;
    this.sandboxId = facts.sandboxId;
    this.#startTime = facts.startTime;
    this.#onDelete = onDelete;
    this.#cgroup = core.cgroup(facts.request.spec.linux.cgroupsPath!);
    this.#exited = this.#watchExit();
    this.#exited.catch(() => {});
  }

  /** Makes the container: bundle, monitor, runtime's create. Leaves nothing behind when that fails. */
  static async create(
    core: Core,
    sandboxId: string,
    request: ContainerRequest,
    onDelete: (id: string) => void,
    signal?: AbortSignal,
  ): Promise<MonitoredContainer> {
    const bundle = core.layout.bundle(request.id);
    const known = path.join(bundle, "facts.json");
    if (existsSync(known)) throw alreadyExists(`container ${request.id} exists already`);
    const binary = core.runtimeBinary(request.runtime);
    const cgroupsPath = request.spec.linux.cgroupsPath ?? `${core.cgroupParent}/${request.id}`;
    const spec = { ...request.spec, linux: { ...request.spec.linux, cgroupsPath } };
    const complete = { ...request, spec };
    await mkdir(bundle, { recursive: true, mode: 0o711 });
    await core.exits.forget(request.id);
    try {
      await writeFile(path.join(bundle, "config.json"), JSON.stringify(await forRuntime(core, spec, binary)), {
        mode: 0o600,
      });
      const pid = await createMonitored(monitorRequest(core, complete, binary), await core.prefix());
      const facts = { sandboxId, request: complete, pid, startTime: startTimeOf(pid) ?? 0 };
      await writeFacts(known, facts);
      if (signal?.aborted) throw canceled(`creating ${request.id} was canceled`, { cause: signal.reason });
      return new MonitoredContainer(core, facts, onDelete);
    } catch (error) {
      await clear(core, complete, binary);
      if (hasCode(error, "canceled", "notFound")) throw error;
      throw runtimeError(messageOf(error), spec.process.args[0] ?? "");
    }
  }

  /** Takes over what stands in a bundle; undefined when there is no finished container, whose leftovers are then removed. */
  static async recover(
    core: Core,
    id: string,
    onDelete: (id: string) => void,
  ): Promise<MonitoredContainer | undefined> {
    const facts = await readFacts<ContainerFacts>(path.join(core.layout.bundle(id), "facts.json"));
    if (!facts) return undefined;
    const container = new MonitoredContainer(core, facts, onDelete);
    await container.#takeOver();
    return container;
  }

  get state(): RuntimeState {
    return this.#exit ? "exited" : this.#state;
  }
  get logPath(): string | undefined {
    return this.request.logPath;
  }
  get #bundle(): string {
    return this.#core.layout.bundle(this.id);
  }
  get #binary(): string {
    return this.#core.runtimeBinary(this.request.runtime);
  }
  get #stateDir(): string {
    return this.#core.layout.runtimeState(this.#binary);
  }
  #alive(): boolean {
    return startTimeOf(this.pid) === this.#startTime;
  }

  async #takeOver(): Promise<void> {
    const exit = await this.#core.exits.read(this.id);
    if (exit) return void (await this.#exited);
    const monitored = await this.#monitored();
    if (!this.#alive() && !monitored)
      return this.#finish({ code: EXIT_UNKNOWN, oomKilled: false, atMs: this.#core.ctx.clock.nowMs() });
    if (!monitored) return this.#endUnmonitored();
    this.#state = waitsToStart(this.#stateDir, this.id) ? "created" : "running";
    const frozen = await this.#cgroup.frozen().catch(() => false);
    if (frozen) this.#state = "paused";
  }

  async #monitored(): Promise<boolean> {
    const monitorPid = Number(await readFile(path.join(this.#bundle, "conmon.pid"), "utf8").catch(() => "0"));
    return monitorPid > 0 && startTimeOf(monitorPid) !== undefined;
  }
  /** Nobody holds its output any more: it would die of SIGPIPE or hang on a full pipe. */
  async #endUnmonitored(): Promise<void> {
    await this.#cgroup.killAll();
    this.#finish({ code: EXIT_UNKNOWN, oomKilled: false, atMs: this.#core.ctx.clock.nowMs() });
  }

  /** A monitor leaves the exit code before it goes; one that was killed leaves none. */
  async #monitorGone(): Promise<void> {
    if (this.#exit || (await this.#core.exits.read(this.id))) return;
    this.#core.ctx.log.warn("a container's monitor was killed, and its container with it", { container: this.id });
    await this.#endUnmonitored();
  }

  async #watchExit(): Promise<RuntimeExit> {
    const gone = () => void this.#monitorGone();
    this.#core.monitors.add(path.join(this.#bundle, "conmon.pid"), gone, this.#ended.signal);
    const { code, atMs } = await this.#core.exits.wait(this.id, this.#ended.signal);
    this.#finish({
      code,
      atMs,
      oomKilled: existsSync(path.join(this.#bundle, "oom")),
      timedOut: this.request.timeoutSeconds !== undefined && code === EXIT_UNKNOWN,
    });
    return this.#exit!;
  }
  #finish(exit: RuntimeExit): void {
    this.#exit ??= exit;
    this.#ended.abort();
  }

  async start(): Promise<void> {
    if (this.state !== "created") throw failedPrecondition(`container ${this.id} is ${this.state}`);
    if (!(await releaseExecFifo(this.#stateDir, this.id))) await this.#runtime("start", this.id);
    this.#state = "running";
  }

  async kill(signal: number, all = false): Promise<void> {
    // A monitor that was killed tells no exit: whoever wants the container ended must not wait for it.
    if (!this.#exit && signal === SIGKILL && !(await this.#monitored()) && !(await this.#core.exits.read(this.id)))
      return this.#endUnmonitored();
    if (this.#exit || !this.#alive()) throw notFound(`container ${this.id} is not running`);
    if (all) for (const pid of await this.#cgroup.processes()) signalProcess(pid, signal);
    else signalProcess(this.pid, signal);
    // A frozen process takes no signal, not even the last.
    if (signal === SIGKILL && this.#state === "paused") await this.resume();
  }

  async pause(): Promise<void> {
    await this.#cgroup.freeze();
    this.#state = "paused";
  }
  async resume(): Promise<void> {
    await this.#cgroup.thaw();
    this.#state = "running";
  }

  async update(resources: OciResources): Promise<void> {
    const file = path.join(this.#bundle, "update.json");
    await writeFacts(file, resources);
    await this.#runtime("update", "--resources", file, this.id);
  }

  async attach(): Promise<AttachStream> {
    return connectAttach(this.#bundle);
  }
  resize(size: TtySize): Promise<void> {
    return resizeTerminal(this.#bundle, size.columns, size.rows);
  }
  reopenLog(): Promise<void> {
    return reopenLog(this.#bundle);
  }

  async exec(request: ExecRequest, _signal?: AbortSignal): Promise<RuntimeExec> {
    if (this.state !== "running") throw failedPrecondition(`container ${this.id} is ${this.state}`);
    const monitor = monitorRequest(this.#core, this.request, this.#binary);
    return execIn(
      {
        core: this.#core,
        request: this.request,
        binary: this.#binary,
        bundle: this.#bundle,
        monitor,
        runtimePids: this.#runtimePids,
      },
      request,
    );
  }

  wait(signal?: AbortSignal): Promise<RuntimeExit> {
    if (this.#exit) return Promise.resolve(this.#exit);
    return orAborted(
      this.#exited.catch(() => {
        if (this.#exit) return this.#exit;
        throw notFound(`container ${this.id} is gone`);
      }),
      signal,
    );
  }

  async processes(): Promise<number[]> {
    const pids = await this.#cgroup.processes();
    return pids.filter((pid) => !this.#runtimePids.has(pid));
  }

  async stats(): Promise<RuntimeStats> {
    const counters = await cgroupStats(this.#core.cgroups, this.#cgroup);
    const network = await networkCounters(this.pid);
    return { atMs: this.#core.ctx.clock.nowMs(), ...counters, network };
  }

  async delete(): Promise<void> {
    if (this.#deleted) return;
    this.#deleted = true;
    await clear(this.#core, this.request, this.#binary);
    this.#finish({ code: EXIT_UNKNOWN, oomKilled: false, atMs: this.#core.ctx.clock.nowMs() });
    this.#onDelete(this.id);
  }

  async #runtime(...args: string[]): Promise<void> {
    const prefix = await this.#core.prefix();
    const { code, stderr } = await run([...prefix, this.#binary, "--root", this.#stateDir, ...args]);
    if (code !== 0) {
      if (args[0] === "start") throw runtimeError(stderr, this.request.spec.process.args[0] ?? "");
      throw internal(`${path.basename(this.#binary)} ${args[0]}: ${stderr.trim()}`);
    }
  }
}

function monitorRequest(core: Core, request: ContainerRequest, binary: string): MonitorRequest {
  const bundle = core.layout.bundle(request.id);
  return {
    conmon: core.conmon,
    runtime: binary,
    runtimeArgs: ["--root", core.layout.runtimeState(binary)],
    id: request.id,
    bundle,
    pidFile: path.join(bundle, "pid"),
    monitorPidFile: path.join(bundle, "conmon.pid"),
    exitDir: core.exits.directory,
    terminal: request.spec.process.terminal ?? false,
    stdin: request.stdin ?? false,
    leaveStdinOpen: !(request.stdinOnce ?? false),
    logPath: request.logPath,
    logMaxBytes: request.logMaxBytes,
    timeoutSeconds: request.timeoutSeconds,
  };
}

/** crun takes the seccomp filter compiled; for any other runtime the spec stays as the standard has it. */
async function forRuntime(core: Core, spec: OciSpec, binary: string): Promise<OciSpec> {
  if (!spec.linux.seccomp || path.basename(binary) !== "crun") return spec;
  const program = await core.seccomp.program(spec.linux.seccomp);
  return { ...spec, annotations: { ...spec.annotations, "run.oci.seccomp_bpf_data": program } };
}

/**
 * Removes all traces of a container but its log: what is left of its processes, its control groups, the runtime's state, the bundle's own files. The
 * same for a container that ended well and for one a crash left behind, and without starting the runtime (7 ms).
 */
async function clear(core: Core, request: ContainerRequest, binary: string): Promise<void> {
  const bundle = core.layout.bundle(request.id);
  const group = core.cgroup(request.spec.linux.cgroupsPath!);
  await group.killAll();
  await Promise.all([
    group.remove(),
    rm(path.join(core.layout.runtimeState(binary), request.id), { recursive: true, force: true }),
    core.exits.forget(request.id),
    ...BUNDLE_FILES.map((name) => rm(path.join(bundle, name), { recursive: true, force: true })),
  ]);
}

const BUNDLE_FILES = [
  "facts.json",
  "config.json",
  "update.json",
  "pid",
  "conmon.pid",
  "attach",
  "ctl",
  "winsz",
  "exit",
  "oom",
  "exec",
  EXEC_STATE,
  "shm",
];

export function checkId(id: string): void {
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$/.test(id)) throw invalidArgument(`"${id}" is no valid container id`);
}
