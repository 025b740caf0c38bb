import { readFile, rm } from "node:fs/promises";
import path from "node:path";
import type { vm } from "../../api/index.ts";
import {
  conflict,
  deadlineExceeded,
  failedPrecondition,
  hasCode,
  KeyedMutex,
  messageOf,
  MiB,
} from "../../base/index.ts";
import type { RuntimeContainer } from "../../engine/index.ts";
import { removeBitmap } from "../disk/index.ts";
import { GuestAgentClient } from "../guest/index.ts";
import { logText } from "../micro/machine.ts";
import { QmpClient } from "../qmp/index.ts";
import { machineCommand, type MachineLayout } from "./argv.ts";
import { abandonCopies } from "./copy.ts";
import { serveAddresses } from "./dhcp.ts";
import type { MachineHost } from "./host.ts";
import { runJob } from "./jobs.ts";
import { attachedNetwork, takeNamespace, type Namespace } from "./attached.ts";
import { connectMachine, sandboxId, type MachineNetwork } from "./network.ts";
import type { MachineRecord } from "./record.ts";
import { guestFiles, kernelCommandLine } from "./seed.ts";
import { untilReady } from "./ready.ts";
import { serveShares } from "./shares.ts";
import { writeIso } from "../cloud-init/index.ts";
import { checkMemory } from "./admission.ts";

const MONITOR_MS = 20_000;
const POLL_MS = 20;
const QUIT_MS = 10_000;
const ASK_MS = 1_000;
const SIGKILL = 9;
/** QEMU's own code, tables and translated code, beside the guest's memory. */
const MONITOR_BYTES = 448 * MiB;
const CONSOLE_LINES = 20;
/** Snapshot in which the memory of a saved machine stands. */
const SAVED = "berth-saved";
const LIVE: ReadonlySet<vm.VmState> = new Set<vm.VmState>(["starting", "running", "paused", "stopping"]);

export interface StartOptions {
  /** Go on from this snapshot's memory. */
  readonly resumeFrom?: string;
  /** Only the monitor: the guest does not run. */
  readonly frozen?: boolean;
}

/** One machine: its record on disk, and its monitor while it runs. What is in memory here is only a cache of both. */
export class Machine {
  readonly #host: MachineHost;
  readonly #lock = new KeyedMutex();
  readonly #writes = new KeyedMutex();
  #record: MachineRecord;
  #program: RuntimeContainer | undefined;
  #monitor: QmpClient | undefined;
  #target: "stopped" | "saved" = "stopped";
  #ended: Promise<void> = Promise.resolve();
  /** When the agent last answered, in this run of the machine. */
  agentSeenMs: number | undefined;
  readonly agent: GuestAgentClient;

  constructor(host: MachineHost, record: MachineRecord) {
    this.#host = host;
    this.#record = record;
    this.agent = new GuestAgentClient(path.join(host.runFolder(record.id), "agent.sock"), host.context.clock);
  }

  get record(): MachineRecord {
    return this.#record;
  }
  get id(): string {
    return this.#record.id;
  }
  get folder(): string {
    return this.#host.records.folder(this.id);
  }
  get disksFolder(): string {
    return path.join(this.folder, "disks");
  }
  get consoleLog(): string {
    return path.join(this.folder, "console.log");
  }
  diskFile(name: string): string {
    return path.join(this.disksFolder, `${name}.qcow2`);
  }
  get live(): boolean {
    return LIVE.has(this.#record.state);
  }
  get program(): RuntimeContainer {
    if (!this.#program) throw this.#notRunning();
    return this.#program;
  }
  /** Of the monitor on the host. */
  get pid(): number | undefined {
    return this.#program?.pid;
  }
  get monitor(): QmpClient {
    if (!this.#monitor || this.#monitor.closed) throw this.#notRunning();
    return this.#monitor;
  }
  #notRunning() {
    return failedPrecondition(`the machine ${this.#record.name} is ${this.#record.state}`, {
      hint: `berth vm start ${this.#record.name}`,
    });
  }

  /** Changes the record, here and on disk. Changes follow one another: the end of a monitor may come at any time. */
  change(change: Partial<MachineRecord>): Promise<void> {
    return this.#writes.run("", () => this.#write({ ...this.#record, ...change }));
  }

  replace(record: MachineRecord): Promise<void> {
    return this.#writes.run("", () => this.#write(record));
  }

  async #write(record: MachineRecord): Promise<void> {
    await this.#host.records.write(record);
    this.#record = record;
    for (const listener of this.#host.listeners) listener(record);
  }

  /** One operation at a time. */
  exclusively<T>(task: () => Promise<T>): Promise<T> {
    return this.#lock.run("", task);
  }

  start(options: StartOptions = {}): Promise<void> {
    return this.exclusively(() => this.startNow(options));
  }

  /** As `start`, for who has the machine exclusively already. */
  async startNow(options: StartOptions = {}): Promise<void> {
    const before = this.#record;
    if (this.live) throw conflict(`the machine ${before.name} is ${before.state} already`);
    await this.#ended;
    await checkMemory(before.spec, MONITOR_BYTES);
    const {
      reason: _reason,
      exitCode: _exit,
      finishedMs: _finished,
      grownMemoryBytes: _grown,
      monitorOnly: _only,
      ...rest
    } = before;
    const resumeFrom = options.resumeFrom ?? (before.state === "saved" ? SAVED : undefined);
    await this.replace({ ...rest, state: "starting" });
    if (resumeFrom) await this.forgetChanges();
    try {
      await this.#launch({ ...options, ...(resumeFrom ? { resumeFrom } : {}) });
    } catch (error) {
      await this.#cleanUp();
      const state = before.state === "saved" ? "saved" : "stopped";
      await this.change({ state, reason: messageOf(error), finishedMs: this.#host.context.clock.nowMs() });
      throw error;
    }
    if (resumeFrom === SAVED && !options.frozen) await this.#dropSaved();
  }

  async #launch(options: StartOptions): Promise<void> {
    const { engine, context } = this.#host;
    const network = attachedNetwork(this.#record.attached) ?? (await connectMachine(engine.networks, this.#record));
    const layout = await this.#layout(network, options);
    await serveShares(this.#host, this.#record);
    await serveAddresses(this.#host, this.#record, network);
    const program = await this.#host.startProgram(this.id, {
      id: `${this.id}-qemu`,
      args: machineCommand(layout),
      logPath: this.consoleLog,
      netnsPath: network.netnsPath,
      kvm: layout.accelerator === "kvm",
      binds: this.#binds(layout),
      memoryLimitBytes: this.#record.spec.maxMemoryBytes + MONITOR_BYTES,
      ...(this.#record.spec.limits.cpuMillis ? { cpuMillis: this.#record.spec.limits.cpuMillis } : {}),
    });
    await this.#adopt(program);
    await this.change({
      state: options.frozen ? "paused" : "running",
      ...(options.frozen ? { monitorOnly: true } : {}),
      startedMs: context.clock.nowMs(),
      accelerator: layout.accelerator,
      addresses: network.addresses,
      publishedPorts: network.ports,
    });
    await this.#prepareDevices();
  }

  /** From its next start on the machine is on the network of a namespace that somebody else made and will remove, and on no other. */
  attach(namespace: Namespace, { anew = false }: { readonly anew?: boolean } = {}): Promise<void> {
    return this.exclusively(async () => {
      if (!anew && this.#record.attached?.netnsPath === namespace.netnsPath) return;
      await this.change({ attached: await takeNamespace(namespace) });
    });
  }

  async #layout(network: MachineNetwork, options: StartOptions): Promise<MachineLayout> {
    const { record } = this;
    const { spec } = record;
    const run = await this.#host.makeRunFolder(this.id);
    const seed = path.join(this.disksFolder, "seed.iso");
    await writeIso(seed, "cidata", await guestFiles(this.#host, record, network.interfaces));
    await this.#host.handOver(this.disksFolder);
    const kernel = spec.firmware === "kernel" ? await this.#host.kernel() : undefined;
    return {
      uuid: record.uuid,
      spec,
      accelerator: await this.#host.accelerator(),
      disks: spec.disks.map(({ name }) => ({ name, file: this.diskFile(name) })),
      seed,
      ...(spec.cdrom ? { cdrom: spec.cdrom } : {}),
      ...(kernel ? { kernel: { ...kernel, commandLine: kernelCommandLine(record) } } : {}),
      ...(spec.firmware === "uefi"
        ? { uefi: { code: "/usr/share/OVMF/OVMF_CODE_4M.fd", variables: this.diskFile("firmware") } }
        : {}),
      taps: network.taps,
      vncPassword: record.vncPassword !== undefined,
      run,
      ...options,
    };
  }

  #binds(layout: MachineLayout) {
    const { kernel, cdrom } = layout;
    return [
      { source: layout.run, write: true },
      { source: this.disksFolder, write: true },
      ...this.#record.bases.map((source) => ({ source })),
      ...(kernel ? [{ source: kernel.image }, { source: kernel.initramfs }] : []),
      ...(cdrom ? [{ source: cdrom }] : []),
    ];
  }

  /** Connects to the monitor of a program that runs, and follows it to its end. */
  async #adopt(program: RuntimeContainer): Promise<void> {
    this.#program = program;
    this.#target = "stopped";
    this.#monitor = await this.#connect(program);
    const ended = program.wait().then((exit) => this.#onExit(exit.code));
    ended.catch((error: unknown) => this.#host.context.log.error("following a machine failed", { error }));
    this.#ended = ended.catch(() => {});
  }

  async #connect(program: RuntimeContainer): Promise<QmpClient> {
    const { clock } = this.#host.context;
    const socket = path.join(this.#host.runFolder(this.id), "qmp.sock");
    const deadline = clock.monotonicMs() + MONITOR_MS;
    for (;;) {
      try {
        return await QmpClient.connect(socket, clock);
      } catch (error) {
        if (!hasCode(error, "unavailable")) throw error;
      }
      if (program.state === "exited") throw await this.#startError();
      if (clock.monotonicMs() > deadline)
        throw deadlineExceeded(`the monitor of ${this.#record.name} did not answer within ${MONITOR_MS / 1000} s`);
      await clock.sleep(POLL_MS);
    }
  }

  /** What QEMU said before it gave up. */
  async #startError(): Promise<Error> {
    const said = (await this.consoleText()).split("\n").filter((line) => line.startsWith("qemu-system"));
    const line = said.at(-1)?.replace(/^qemu-system-\S+: /, "") ?? "it ended at once";
    if (line.includes("lock"))
      return conflict(`a disk of ${this.#record.name} is in use by another process: ${line}`, {
        hint: "end the program that has the disk open",
      });
    return failedPrecondition(`${this.#record.name} cannot start: ${line}`);
  }

  async #prepareDevices(): Promise<void> {
    const poll = { path: "/machine/peripheral/balloon", property: "guest-stats-polling-interval", value: 5 };
    await this.monitor.execute("qom-set", poll);
    await this.throttle();
    const { vncPassword: password } = this.#record;
    if (password !== undefined) await this.monitor.execute("set_password", { protocol: "vnc", password });
  }

  /** Brings the disks' limits to what the record says. */
  async throttle(): Promise<void> {
    const { disks, limits } = this.#record.spec;
    for (const { name } of disks) {
      await this.monitor.execute("block_set_io_throttle", {
        id: `/machine/peripheral/${name}-device/virtio-backend`,
        bps: 0,
        bps_rd: limits.readBytesPerSecond ?? 0,
        bps_wr: limits.writeBytesPerSecond ?? 0,
        iops: limits.iops ?? 0,
        iops_rd: 0,
        iops_wr: 0,
      });
    }
  }

  async #dropSaved(): Promise<void> {
    await runJob(this.monitor, this.#host.context.clock, "snapshot-delete", { tag: SAVED, devices: this.nodes });
  }

  /** Node names of what snapshots consist of. */
  get nodes(): string[] {
    return this.#record.spec.disks.map(({ name }) => name);
  }

  /** After a restart of the daemon: goes on with the program that still runs, or says what became of the machine. */
  async recover(programs: readonly RuntimeContainer[]): Promise<void> {
    if (!this.live) return;
    const program = programs.find(({ id }) => id === `${this.id}-qemu`);
    if (program?.state === "running" || program?.state === "paused") {
      try {
        await this.#adopt(program);
        await abandonCopies(this.#host, this);
        if (this.#record.monitorOnly) return await this.quit();
        const { status } = await this.monitor.execute<{ status: string }>("query-status");
        return await this.change({ state: status === "paused" ? "paused" : "running" });
      } catch (error) {
        this.#host.context.log.error("a machine's monitor does not answer", { machine: this.#record.name, error });
        await program.kill(SIGKILL).catch(() => {});
      }
    }
    const exit = program?.state === "exited" ? await program.wait() : undefined;
    await this.#onExit(exit?.code, "it ended while berth did not run");
  }

  async #onExit(code: number | undefined, reason?: string): Promise<void> {
    const { state } = this.#record;
    await this.#cleanUp();
    const facts = { finishedMs: this.#host.context.clock.nowMs(), ...(code === undefined ? {} : { exitCode: code }) };
    if (state === "starting") return;
    if (this.#target === "stopped") await this.#keepSize();
    if (state === "stopping") return this.change({ ...facts, state: this.#target });
    if (code === 0) return this.change({ ...facts, state: "stopped", reason: reason ?? "the guest shut down" });
    const said = (await this.lastLines(1))[0] ?? "";
    const why = reason ?? `its monitor ended with ${code}`;
    await this.change({ ...facts, state: "crashed", reason: said ? `${why}; last on the console: ${said}` : why });
  }

  /** Memory that was given while it ran is its size at the next start. */
  async #keepSize(): Promise<void> {
    const { grownMemoryBytes, spec, ...rest } = this.#record;
    if (grownMemoryBytes === undefined) return;
    const maxMemoryBytes = Math.max(spec.maxMemoryBytes, grownMemoryBytes);
    await this.replace({ ...rest, spec: { ...spec, memoryBytes: grownMemoryBytes, maxMemoryBytes } });
  }

  async #cleanUp(): Promise<void> {
    await this.#monitor?.[Symbol.asyncDispose]();
    this.#monitor = undefined;
    this.#program = undefined;
    this.agentSeenMs = undefined;
    await this.#host.destroy(this.id);
    await this.#host.engine.networks.destroySandbox(sandboxId(this.id));
    await rm(this.#host.runFolder(this.id), { recursive: true, force: true });
  }

  /** Asks the guest to shut down, and after `timeoutMs` ends it. 0: at once, as if its plug were pulled. */
  stop(timeoutMs: number): Promise<void> {
    return this.exclusively(() => this.stopNow(timeoutMs));
  }

  async stopNow(timeoutMs: number): Promise<void> {
    const { state } = this.#record;
    if (!this.live) {
      if (state === "saved") await this.change({ state: "stopped", reason: "its memory was given up" });
      return;
    }
    await this.change({ state: "stopping" });
    if (state === "running" && timeoutMs > 0) {
      await this.#askGuest();
      if (await this.#goneWithin(timeoutMs)) return;
      this.#host.context.log.warn("the guest did not shut down in time", { machine: this.#record.name });
    }
    await this.quit();
  }

  async #askGuest(): Promise<void> {
    if (this.#record.guest === "oci")
      return void (await this.agent.exec(["/bin/sh", "-c", "kill -TERM $(cat /run/main.pid)"]).catch(() => {}));
    // Not every guest listens to its power button. An agent that shuts down says nothing any more.
    if (await this.agent.answers(ASK_MS)) await this.agent.call("guest-shutdown", undefined, ASK_MS).catch(() => {});
    await this.monitor.execute("system_powerdown").catch(() => {});
  }

  /** The next backup is a full one: nobody counted what changed until then. The machine must not run. */
  async forgetChanges(): Promise<void> {
    for (const name of this.nodes) await removeBitmap(this.diskFile(name));
    const { backedUp: _none, ...rest } = this.#record;
    await this.replace(rest);
  }

  /** Ends the monitor in order: what the guest flushed is on disk. */
  async quit(target: "stopped" | "saved" = "stopped"): Promise<void> {
    if (!this.#program) return;
    if (this.#record.state !== "stopping") await this.change({ state: "stopping" });
    this.#target = target;
    const program = this.#program;
    await this.#monitor?.execute("quit").catch(() => {});
    if (await this.#goneWithin(QUIT_MS)) return;
    await program.kill(SIGKILL).catch(() => {});
    await this.#ended;
  }

  async #goneWithin(limitMs: number): Promise<boolean> {
    const waiting = new AbortController();
    const gone = await Promise.race([
      this.#ended.then(() => true),
      this.#host.context.clock.sleep(limitMs, waiting.signal).then(
        () => false,
        () => false,
      ),
    ]);
    waiting.abort();
    return gone;
  }

  pause(): Promise<void> {
    return this.exclusively(async () => {
      await this.monitor.execute("stop");
      await this.change({ state: "paused" });
    });
  }

  resume(): Promise<void> {
    return this.exclusively(async () => {
      await this.monitor.execute("cont");
      await this.change({ state: "running" });
    });
  }

  /** Writes the memory to disk and ends the monitor; `start` goes on from there. */
  save(): Promise<void> {
    return this.exclusively(async () => {
      this.refuseShares("saved");
      await this.monitor.execute("stop");
      const job = { tag: SAVED, vmstate: this.nodes[0], devices: this.nodes };
      await runJob(this.monitor, this.#host.context.clock, "snapshot-save", job);
      await this.quit("saved");
    });
  }

  /** The file server of a shared folder has state that QEMU cannot save. */
  refuseShares(what: string): void {
    if (this.#record.spec.shares.length > 0)
      throw failedPrecondition(`a machine with shared folders cannot be ${what} with its memory`, {
        hint: "stop it first",
      });
  }

  /** Everything that the console said, as far as it is kept. */
  async consoleText(): Promise<string> {
    return logText(await readFile(this.consoleLog, "utf8").catch(() => ""));
  }

  async lastLines(count = CONSOLE_LINES): Promise<string[]> {
    const lines = (await this.consoleText())
      .split("\n")
      .map((line) => line.replaceAll(CONTROL_SEQUENCES, "").trimEnd());
    return lines.filter((line) => line !== "").slice(-count);
  }

  /** Resolves when the guest's agent answers and cloud-init, where the guest has it, is done; throws deadlineExceeded with the last console lines when it never does. */
  ready(timeoutMs: number): Promise<void> {
    return untilReady(this, this.#host.context.clock, timeoutMs);
  }

  agentSeen(): void {
    this.agentSeenMs = this.#host.context.clock.nowMs();
  }

  /** Removes a machine that does not run. */
  async remove(): Promise<void> {
    await this.#cleanUp();
    await this.#host.records.remove(this.id);
  }
}

/* oxlint-disable-next-line no-control-regex */
const CONTROL_SEQUENCES = /\u001b\[[0-9;?]*[A-Za-z]|\r/g;
