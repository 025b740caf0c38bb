import { conflict, invalidArgument, notFound, randomHex, type Timer } from "../../../base/index.ts";
import { tryPrimeCgroups } from "../../../host/index.ts";
import type { DockerExecConfig, OciProcess } from "../../../api/index.ts";
import type { AttachStream, RuntimeExec, TtySize } from "../runtime/index.ts";
import { ALL_CAPABILITIES } from "../spec/capabilities.ts";
import { resolveUser } from "../spec/user.ts";
import type { ProbeResult } from "./health.ts";
import { publish, type ContainerParts } from "./parts.ts";
import type { ContainerRecord } from "./record.ts";
import { mergeEnv } from "./spec.ts";

/** An exec, from its creation until some time after its end. */
export interface ExecRecord {
  /** 64 hex digits. */
  readonly id: string;
  readonly containerId: string;
  readonly config: DockerExecConfig;
  running: boolean;
  exitCode: number | null;
  pid: number;
  live?: RuntimeExec;
}

/** Ended execs can be inspected for this long, as the CLI does right after. */
const KEEP_MS = 5 * 60_000;
const MAX_EXECS_PER_CONTAINER = 1_000;

/** The execs of all containers. They end with the daemon's knowledge of them: only their processes live on. */
export class ExecRegistry {
  readonly #parts: ContainerParts;
  readonly #execs = new Map<string, ExecRecord>();
  readonly #timers = new Map<string, Timer>();

  constructor(parts: ContainerParts) {
    this.#parts = parts;
  }

  create(ref: string, config: DockerExecConfig): ExecRecord {
    const record = this.#parts.store.get(ref);
    if (record.state.status === "paused")
      throw conflict(`container ${record.id} is paused, unpause the container before exec`);
    this.#parts.live.get(record);
    if (!config.Cmd?.length) throw invalidArgument("No exec command specified");
    if (this.idsOf(record.id).length >= MAX_EXECS_PER_CONTAINER)
      throw conflict(`container ${record.id} has too many execs`);
    const exec: ExecRecord = {
      id: randomHex(this.#parts.deps.ctx.random, 32),
      containerId: record.id,
      config,
      running: false,
      exitCode: null,
      pid: 0,
    };
    this.#execs.set(exec.id, exec);
    // Its process will be moved into the container's groups in a moment.
    if (config.Tty) tryPrimeCgroups(this.#parts.deps.core.cgroups);
    this.#event(record, exec, `exec_create: ${config.Cmd.join(" ")}`);
    return exec;
  }

  get(id: string): ExecRecord {
    const exec = this.#execs.get(id);
    if (!exec) throw notFound(`No such exec instance: ${id}`);
    return exec;
  }
  idsOf(containerId: string): string[] {
    return [...this.#execs.values()]
      .filter((exec) => exec.containerId === containerId && exec.running)
      .map((exec) => exec.id);
  }

  /** Throws what `start` would throw for an exec that ran already, or whose container doesn't run. */
  checkStartable(id: string): ContainerRecord {
    const exec = this.get(id);
    const record = this.#parts.store.get(exec.containerId);
    if (exec.running || exec.exitCode !== null) throw conflict(`Error: Exec command ${id} has already run`);
    if (record.state.status === "paused")
      throw conflict(`container ${record.id} is paused, unpause the container before exec`);
    this.#parts.live.get(record);
    return record;
  }

  async start(id: string, consoleSize?: number[] | null, detached = false): Promise<AttachStream> {
    const exec = this.get(id);
    const record = this.checkStartable(id);
    const { container } = this.#parts.live.get(record);
    exec.running = true;
    try {
      const process = await this.#process(record, container.request.spec.process, exec.config, consoleSize);
      exec.live = await container.exec({ id, process, stdin: exec.config.AttachStdin, detached });
      exec.pid = exec.live.pid;
    } catch (error) {
      exec.running = false;
      exec.exitCode = ((error as { details?: { exitCode?: number } }).details?.exitCode ?? 126) as number;
      this.#expire(exec);
      throw error;
    }
    this.#event(record, exec, `exec_start: ${(exec.config.Cmd ?? []).join(" ")}`);
    void exec.live.wait().then((exit) => {
      exec.running = false;
      exec.exitCode = exit.code;
      this.#event(record, exec, "exec_die", { exitCode: String(exit.code) });
      this.#expire(exec);
    });
    return exec.live.stream;
  }

  /** Resolves when the exec has ended; its exit code is then known. */
  async ended(id: string): Promise<void> {
    await this.get(id).live?.wait();
  }
  async resize(id: string, size: TtySize): Promise<void> {
    const exec = this.get(id);
    if (!exec.running || !exec.live) throw conflict(`Exec command ${id} is not running`);
    await exec.live.resize(size);
  }
  forgetContainer(containerId: string): void {
    for (const exec of this.#execs.values()) if (exec.containerId === containerId) this.#forget(exec.id);
  }

  /** A health check's run: its exit code and what it said. */
  async probe(record: ContainerRecord, command: string[], timeoutMs: number): Promise<ProbeResult> {
    const { clock, random } = this.#parts.deps.ctx;
    const startMs = clock.nowMs();
    try {
      const { container } = this.#parts.live.get(record);
      const process = await this.#process(record, container.request.spec.process, { Cmd: command });
      const exec = await container.exec({ id: `health-${randomHex(random, 6)}`, process });
      let output = "";
      exec.stream.onData((_stream, chunk) => {
        if (output.length < 4096) output += chunk.toString();
      });
      let timedOut = false;
      const timer = clock.after(timeoutMs, () => {
        timedOut = true;
        void exec.kill(9).catch(() => {});
      });
      const exit = await exec.wait();
      await exec.stream.ended;
      timer.cancel();
      const endMs = clock.nowMs();
      if (timedOut) {
        return { startMs, endMs, exitCode: -1, output: `Health check exceeded timeout (${timeoutMs}ms)` };
      }
      return { startMs, endMs, exitCode: exit.code, output };
    } catch (error) {
      return {
        startMs,
        endMs: clock.nowMs(),
        exitCode: -1,
        output: error instanceof Error ? error.message : String(error),
      };
    }
  }

  async #process(
    record: ContainerRecord,
    base: OciProcess,
    config: DockerExecConfig,
    consoleSize?: number[] | null,
  ): Promise<OciProcess> {
    const root = this.#parts.launcher.rootfs(record);
    const user = config.User ? await resolveUser(root, config.User) : undefined;
    const size = consoleSize ?? config.ConsoleSize;
    const capabilities = config.Privileged ? [...ALL_CAPABILITIES] : (base.capabilities?.bounding ?? []);
    const root0 = (user?.uid ?? base.user.uid) === 0;
    return {
      ...base,
      args: [...(config.Cmd ?? [])],
      cwd: config.WorkingDir || base.cwd,
      env: mergeEnv([
        ...(user ? [...base.env, `HOME=${user.home}`] : base.env),
        ...(config.Tty ? ["TERM=xterm"] : []),
        ...(config.Env ?? []),
      ]),
      terminal: config.Tty ?? false,
      consoleSize: size?.[0] ? { height: size[0], width: size[1] ?? 0 } : undefined,
      user: user ? { uid: user.uid, gid: user.gid, additionalGids: [...user.additionalGids] } : base.user,
      capabilities: {
        bounding: capabilities,
        effective: root0 ? capabilities : [],
        permitted: root0 ? capabilities : [],
        inheritable: [],
        ambient: [],
      },
    };
  }

  #event(record: ContainerRecord, exec: ExecRecord, action: string, more: Record<string, string> = {}): void {
    publish(this.#parts.deps, record, action, { execID: exec.id, ...more });
  }
  #expire(exec: ExecRecord): void {
    exec.live = undefined;
    this.#timers.set(
      exec.id,
      this.#parts.deps.ctx.clock.after(KEEP_MS, () => this.#forget(exec.id)),
    );
  }
  #forget(id: string): void {
    this.#timers.get(id)?.cancel();
    this.#timers.delete(id);
    this.#execs.delete(id);
  }
}
