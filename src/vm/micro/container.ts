import { mkdir, rm, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import type { OciProcess, OciResources } from "../../api/index.ts";
import { failedPrecondition, notFound, notImplemented, type Clock } from "../../base/index.ts";
import type {
  AttachStream,
  ContainerRequest,
  ExecRequest,
  ProcessTable,
  RuntimeContainer,
  RuntimeExec,
  RuntimeExit,
  RuntimeState,
  RuntimeStats,
  TtySize,
} from "../../engine/index.ts";
import { networkCounters } from "../../host/index.ts";
import { quote, type GuestAgent } from "./agent.ts";
import { checkExecutable } from "./executable.ts";
import { guestFolder } from "./spec.ts";
import { parseStats, STATS_SCRIPT } from "./stats.ts";

const SIGKILL = 9;
const PS_TITLES = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"];
/** How long the guest's runtime may take to bring a container up. */
const START_MS = 60_000;
const START_POLL_MS = 5;
const KILL_MS = 3000;

export interface MicroContainerParts {
  readonly request: ContainerRequest;
  /** The relay on the host: it holds stdio, log, terminal and exit code. */
  readonly relay: RuntimeContainer;
  readonly agent: GuestAgent;
  readonly clock: Clock;
  /** The container's folder on the host that the guest sees as `guestFolder(id)`. */
  readonly folder: string;
  /** Folder on the host with the root and all that is mounted in it. */
  openView(): Promise<string>;
  release(): Promise<void>;
}

/** The command by which a relay starts a process: `tty` or `pipe`, then what the agent runs. */
export function relayArgs(terminal: boolean, command: readonly string[]): string[] {
  return ["/usr/bin/perl", "/tools/relay.pl", terminal ? "tty" : "pipe", ...command];
}

/** A relay's own process: no environment, no rights; all of the container's are applied in the guest. */
function relayProcess(user: OciProcess["user"], terminal: boolean, command: readonly string[]): OciProcess {
  const none: string[] = [];
  return {
    terminal,
    user,
    args: relayArgs(terminal, command),
    env: ["PATH=/tools"],
    cwd: "/",
    noNewPrivileges: true,
    capabilities: { bounding: none, effective: none, permitted: none, inheritable: none, ambient: none },
  };
}

/** A container of a microVM: an ordinary OCI container under crun in the guest, with its monitor on the host. */
export class MicroContainer implements RuntimeContainer {
  readonly id: string;
  readonly request: ContainerRequest;
  readonly #parts: MicroContainerParts;
  #paused = false;

  constructor(parts: MicroContainerParts) {
    this.#parts = parts;
    this.id = parts.request.id;
    this.request = parts.request;
  }

  get pid(): number {
    return this.#parts.relay.pid;
  }
  get state(): RuntimeState {
    const { state } = this.#parts.relay;
    return state === "running" && this.#paused ? "paused" : state;
  }
  get logPath(): string | undefined {
    return this.request.logPath;
  }

  /** Resolves when the guest's runtime has started the process, or it has ended already. */
  async start(): Promise<void> {
    await this.#parts.relay.start();
    const ended = new AbortController();
    const ends = this.#parts.relay.wait().finally(() => ended.abort());
    // The guest writes it into the folder that both sides see.
    const file = path.join(this.#parts.folder, "pid");
    const { clock } = this.#parts;
    const deadline = clock.monotonicMs() + START_MS;
    while (!ended.signal.aborted && clock.monotonicMs() < deadline) {
      const { size = 0 } = (await stat(file).catch(() => undefined)) ?? {};
      if (size > 0) return;
      await Promise.race([ends, clock.sleep(START_POLL_MS)]);
    }
  }

  async kill(signal: number, all = false): Promise<void> {
    if (this.state === "exited") throw notFound(`container ${this.id} is not running`);
    if (signal === SIGKILL) void this.#endRelay();
    const { code, output } = await this.#parts.agent.try(`crun kill ${all ? "--all " : ""}${quote(this.id)} ${signal}`);
    if (signal === SIGKILL && this.#paused) await this.resume();
    if (code === 0) return;
    // A container that the guest does not know yet has nothing but its relay.
    if (signal === SIGKILL) return this.#parts.relay.kill(SIGKILL);
    throw notFound(`container ${this.id} is not running: ${output.trim()}`);
  }

  /** A relay that does not end with its process has lost its monitor, or its machine hangs. */
  async #endRelay(): Promise<void> {
    const { relay, clock } = this.#parts;
    await Promise.race([relay.wait().catch(() => {}), clock.sleep(KILL_MS)]);
    if (relay.state !== "exited") await relay.kill(SIGKILL).catch(() => {});
  }

  async pause(): Promise<void> {
    await this.#parts.agent.run(`crun pause ${quote(this.id)}`);
    this.#paused = true;
  }
  async resume(): Promise<void> {
    await this.#parts.agent.run(`crun resume ${quote(this.id)}`);
    this.#paused = false;
  }

  async update(resources: OciResources): Promise<void> {
    const { devices: _rules, ...rest } = resources;
    await writeFile(path.join(this.#parts.folder, "update.json"), JSON.stringify(rest));
    await this.#parts.agent.run(`crun update --resources ${guestFolder(this.id)}/update.json ${quote(this.id)}`);
  }

  attach(): Promise<AttachStream> {
    return this.#parts.relay.attach();
  }
  resize(size: TtySize): Promise<void> {
    return this.#parts.relay.resize(size);
  }

  async exec(request: ExecRequest, signal?: AbortSignal): Promise<RuntimeExec> {
    if (this.state !== "running") throw failedPrecondition(`container ${this.id} is ${this.state}`);
    await checkExecutable({ ...this.request.spec, process: request.process }, "exec");
    const folder = path.join(this.#parts.folder, "exec");
    const file = path.join(folder, `${request.id}.json`);
    await mkdir(folder, { recursive: true });
    await writeFile(file, JSON.stringify(request.process), { mode: 0o600 });
    const inGuest = `${guestFolder(this.id)}/exec/${request.id}`;
    const command = ["crun", "exec", "--pid-file", `${inGuest}.pid`, "--process", `${inGuest}.json`, this.id];
    const user = this.#parts.relay.request.spec.process.user;
    const relay = await this.#parts.relay.exec(
      { ...request, process: relayProcess(user, request.process.terminal ?? false, command) },
      signal,
    );
    void relay.wait().then(
      () => Promise.all([file, path.join(folder, `${request.id}.pid`)].map((name) => rm(name, { force: true }))),
      () => {},
    );
    return {
      id: relay.id,
      pid: relay.pid,
      stream: relay.stream,
      resize: (size) => relay.resize(size),
      wait: (signal_) => relay.wait(signal_),
      kill: async (number) => {
        await this.#parts.agent.run(`kill -${number} "$(cat ${inGuest}.pid)"`);
      },
    };
  }

  wait(signal?: AbortSignal): Promise<RuntimeExit> {
    return this.#parts.relay.wait(signal);
  }

  processes(): Promise<number[]> {
    return Promise.reject(
      notImplemented("a microVM's processes are not seen on the host", { hint: "docker top NAME" }),
    );
  }

  async top(psArgs: string): Promise<ProcessTable> {
    if (psArgs.trim() !== "-ef")
      throw notImplemented(`the processes of a microVM are shown as by ps -ef; ${psArgs} is not there`, {
        hint: "docker top NAME, or docker exec NAME ps",
      });
    const text = await this.#parts.agent.run(`perl /top.pl ${quote(this.id)}`);
    const lines = text.split("\n").filter((line) => line !== "");
    return { titles: PS_TITLES, processes: lines.map((line) => line.split("\t")) };
  }

  rootPath(): Promise<string> {
    return this.#parts.openView();
  }

  async stats(): Promise<RuntimeStats> {
    const [text, links] = await Promise.all([
      this.#parts.agent.run(STATS_SCRIPT(this.id)),
      networkCounters(this.pid).catch(() => []),
    ]);
    const network = links.filter(({ name }) => /^eth\d+$/.test(name));
    return { ...parseStats(text), atMs: this.#parts.clock.nowMs(), network };
  }

  reopenLog(): Promise<void> {
    return this.#parts.relay.reopenLog();
  }

  async delete(): Promise<void> {
    await this.#parts.agent.try(`crun delete --force ${quote(this.id)}`).catch(() => {});
    await this.#parts.relay.delete();
    await this.#parts.release();
  }
}
