import {
  conflict,
  errnoOf,
  failedPrecondition,
  KeyedMutex,
  messageOf,
  notFound,
  BerthError,
  type Timer,
} from "../../../base/index.ts";
import type { DockerCreateBody, DockerEndpointSettings, DockerHostConfig } from "../../../api/index.ts";
import { tryPrimeCgroups } from "../../../host/index.ts";
import type { AttachStream, RuntimeContainer, RuntimeExit, Sandbox, TtySize } from "../runtime/index.ts";
import { AttachWaiters } from "./attach.ts";
import { Creator, type CreateOptions } from "./creator.ts";
import type { ContainerDeps } from "./deps.ts";
import { endpointSpec } from "./endpoints.ts";
import { ExecRegistry } from "./execs.ts";
import { healthCommand, HealthMonitor } from "./health.ts";
import { Launcher, OWNER_LABEL } from "./launcher.ts";
import { logFilesOf, rotateLog } from "./log-files.ts";
import { isRunning, type ContainerRecord } from "./record.ts";
import { ociResources, checkResources } from "./resources.ts";
import { RestartTimers, wantsRestart } from "./restarts.ts";
import { parseSignal } from "./signals.ts";
import { ContainerStore } from "./store.ts";

const DEFAULT_STOP_SECONDS = 10;
const KILL_WAIT_MS = 10_000;
const LOG_CHECK_MS = 1_000;
const SIGKILL = 9;

export type WaitCondition = "not-running" | "next-exit" | "removed";

/** A container that runs now. */
interface Live {
  readonly container: RuntimeContainer;
  readonly sandbox: Sandbox;
  health?: HealthMonitor;
  /** Aborted when the container has ended and all its output is in the log. */
  readonly ended: AbortController;
}

/**
 * Docker's containers: records, and the state machine created → running ⇄ paused → exited (→ restarting → running) → removed. What a client
 * changes goes through one lock per container; the exit of a process comes by itself.
 */
export class DockerContainers {
  readonly deps: ContainerDeps;
  readonly store: ContainerStore;
  readonly execs: ExecRegistry;
  readonly launcher: Launcher;
  readonly attachWaiters = new AttachWaiters();
  readonly #lock = new KeyedMutex();
  readonly #live = new Map<string, Live>();
  readonly #restarts: RestartTimers;
  readonly #creator: Creator;
  readonly #exitWaiters = new Map<string, Set<(exitCode: number) => void>>();
  readonly #removeWaiters = new Map<string, Set<() => void>>();
  /** Containers whose root is mounted for copying though they don't run, and how many copy. */
  readonly #borrowed = new Map<string, number>();
  #logTimer: Timer | undefined;
  #closed = false;

  constructor(deps: ContainerDeps) {
    this.deps = deps;
    this.store = new ContainerStore(`${deps.ctx.dataDir}/containers`);
    this.launcher = new Launcher(deps, this.store);
    this.#creator = new Creator(deps, this.store);
    this.#restarts = new RestartTimers(deps.ctx.clock);
    this.execs = new ExecRegistry(this);
    deps.images.setUsers(() =>
      this.store.list().map((record) => ({
        containerId: record.id,
        imageId: record.imageId as `sha256:${string}`,
        running: isRunning(record),
      })),
    );
  }

  /** Reads the records; call before networks and volumes recover, which ask for `ids`. */
  async load(): Promise<void> {
    await this.store.load();
  }
  ids(): Set<string> {
    return new Set(this.store.list().map((record) => record.id));
  }
  /** Those whose process may still run: their network sandboxes are to be kept. */
  runningIds(): Set<string> {
    return new Set(
      this.store
        .list()
        .filter(isRunning)
        .map((record) => record.id),
    );
  }

  /** Takes over what a former daemon left: `sandboxes` is what the isolations recovered. */
  async recover(sandboxes: readonly Sandbox[]): Promise<void> {
    const found = new Map(
      sandboxes.filter((sandbox) => sandbox.request.labels?.[OWNER_LABEL] === "docker").map((s) => [s.id, s]),
    );
    const records = this.store.list();
    await Promise.all(
      records.map((record) => this.#lock.run(record.id, () => this.#recoverOne(record, found.get(record.id)))),
    );
    const known = this.ids();
    for (const [id, sandbox] of found) if (!known.has(id)) await sandbox.destroy();
    for (const record of records) {
      if (this.store.byId(record.id) && !isRunning(record)) void this.#afterRecovery(record);
    }
    this.#watchLogs();
  }

  async #recoverOne(record: ContainerRecord, sandbox: Sandbox | undefined): Promise<void> {
    const container = sandbox?.container(record.id);
    if (isRunning(record) && container && container.state !== "created") {
      if (container.state === "paused" || container.state === "running") record.state.status = container.state;
      this.#watch(record, container, sandbox!);
      return;
    }
    const wasRunning = isRunning(record);
    await this.launcher.down(record, sandbox);
    if (wasRunning) {
      record.state = {
        ...record.state,
        status: "exited",
        pid: 0,
        exitCode: 255,
        finishedMs: this.deps.ctx.clock.nowMs(),
      };
      await this.#saveIfRoom(record);
    }
  }

  /** Restart policies at daemon start, and removals that were cut short. */
  async #afterRecovery(record: ContainerRecord): Promise<void> {
    try {
      const policy = record.hostConfig.RestartPolicy?.Name;
      const wanted = policy === "always" || (policy === "unless-stopped" && !record.stoppedByUser);
      if (record.state.status === "removing" || (record.hostConfig.AutoRemove && record.state.startedMs > 0)) {
        await this.remove(record.id, { force: true, volumes: true });
      } else if ((wanted && record.state.startedMs > 0) || record.state.status === "restarting")
        await this.start(record.id);
    } catch (error) {
      this.deps.ctx.log.warn("a container could not be resumed", { container: record.id, error });
    }
  }

  /** Containers run on. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#logTimer?.cancel();
    this.#restarts.close();
    for (const live of this.#live.values()) live.health?.stop();
  }

  // --- create and remove

  async create(
    body: DockerCreateBody,
    options: CreateOptions = {},
  ): Promise<{ record: ContainerRecord; warnings: string[] }> {
    const created = await this.#creator.create(body, options);
    this.event(created.record, "create");
    return created;
  }

  async remove(ref: string, options: { force?: boolean; volumes?: boolean } = {}): Promise<void> {
    const record = this.store.get(ref);
    if (isRunning(record)) {
      if (!options.force) {
        const hint =
          record.state.status === "paused"
            ? "container is paused and must be unpaused first"
            : "container is running: stop the container before removing or force remove";
        throw conflict(`cannot remove container "/${record.name}": ${hint}`);
      }
      record.stoppedByUser = true;
      const exited = this.#nextExit(record.id);
      await this.#signal(record, SIGKILL).catch(() => {});
      if (isRunning(record)) await exited;
    }
    this.#restarts.cancel(record.id);
    await this.#lock.run(record.id, () => this.#remove(record, options.volumes ?? false));
  }

  async #remove(record: ContainerRecord, withVolumes: boolean): Promise<void> {
    if (!this.store.byId(record.id)) return;
    const { snapshots, volumes } = this.deps;
    record.state.status = "removing";
    await this.#saveIfRoom(record);
    await this.launcher.down(record);
    await Promise.all([snapshots.remove(record.id), this.launcher.forget(record)]);
    for (const mount of record.mounts) {
      if (mount.Type !== "volume") continue;
      volumes.release(mount.Name!, record.id);
      if (withVolumes && mount.anonymous) await volumes.remove(mount.Name!).catch(() => {});
    }
    await this.store.remove(record);
    this.#restarts.forget(record.id);
    this.execs.forgetContainer(record.id);
    this.event(record, "destroy");
    for (const wake of this.#removeWaiters.get(record.id) ?? []) wake();
    this.#removeWaiters.delete(record.id);
  }

  /** What gives room back must not need room itself: on a full disk stopping and removing go on, and the record stays the old one. */
  async #saveIfRoom(record: ContainerRecord): Promise<void> {
    try {
      await this.store.save(record);
    } catch (error) {
      if (errnoOf(error) !== "ENOSPC" && errnoOf(error) !== "EDQUOT") throw error;
      this.deps.ctx.log.warn("a container's record could not be written: the disk is full", { container: record.id });
    }
  }

  // --- start and stop

  /** False when it runs already. */
  async start(ref: string): Promise<boolean> {
    const { id } = this.store.get(ref);
    this.#restarts.cancel(id);
    return this.#lock.run(id, () => this.#start(this.store.get(id)));
  }

  async #start(record: ContainerRecord): Promise<boolean> {
    if (record.state.status === "paused") throw conflict("cannot start a paused container, try unpause instead");
    if (record.state.status === "running") return false;
    if (record.state.status === "removing") throw conflict("container is marked for removal and cannot be started");
    const { clock } = this.deps.ctx;
    tryPrimeCgroups(this.deps.core.cgroups);
    let up: Awaited<ReturnType<Launcher["up"]>> | undefined;
    try {
      up = await this.launcher.up(record);
      const { container, warnings } = up;
      for (const warning of warnings)
        this.deps.ctx.log.warn("a setting of the container was not applied", { container: record.id, warning });
      await this.attachWaiters.serve(record.id, () => container.attach());
      record.state = {
        status: "running",
        pid: container.pid,
        exitCode: 0,
        oomKilled: false,
        error: "",
        startedMs: clock.nowMs(),
        finishedMs: 0,
      };
      if (healthCommand(record.config.Healthcheck))
        record.state.health = { status: "starting", failingStreak: 0, log: [] };
      record.stoppedByUser = false;
      // On disk before the first instruction runs: after a crash it is known to have been started.
      await this.store.save(record);
      await container.start();
    } catch (error) {
      await this.#startFailed(record, error, up?.sandbox);
      throw error;
    }
    this.event(record, "start");
    this.#watch(record, up.container, up.sandbox);
    return true;
  }

  async #startFailed(record: ContainerRecord, error: unknown, sandbox?: Sandbox): Promise<void> {
    const details = error instanceof BerthError ? error.details : {};
    await this.launcher.down(record, sandbox);
    const exitCode = (details["exitCode"] as number | undefined) ?? 128;
    record.state = {
      ...record.state,
      status: record.state.startedMs > 0 ? "exited" : "created",
      pid: 0,
      exitCode,
      error: messageOf(error),
    };
    await this.store.save(record);
    if (record.hostConfig.AutoRemove) await this.#remove(record, true);
  }

  #watch(record: ContainerRecord, container: RuntimeContainer, sandbox: Sandbox): void {
    const live: Live = { container, sandbox, ended: new AbortController() };
    this.#live.set(record.id, live);
    const command = healthCommand(record.config.Healthcheck, record.config.Shell);
    if (command) {
      live.health = new HealthMonitor(
        this.deps.ctx.clock,
        record,
        record.config.Healthcheck!,
        (timeoutMs) => this.execs.probe(record, command, timeoutMs),
        (state, changed) => {
          record.state.health = state;
          void this.store.save(record).catch(() => {});
          if (changed) this.event(record, `health_status: ${state.status}`);
        },
      );
    }
    void container.wait().then(
      (exit) => this.#onExit(record, live, exit),
      (error: unknown) => this.deps.ctx.log.error("lost sight of a container", { container: record.id, error }),
    );
  }

  async #onExit(record: ContainerRecord, live: Live, exit: RuntimeExit): Promise<void> {
    if (this.#closed || this.#live.get(record.id) !== live) return;
    this.#live.delete(record.id);
    live.health?.stop();
    const ranMs = exit.atMs - record.state.startedMs;
    const again = wantsRestart(record, exit.code);
    record.state = {
      ...record.state,
      status: again ? "restarting" : "exited",
      pid: 0,
      exitCode: exit.code,
      oomKilled: exit.oomKilled,
      finishedMs: exit.atMs,
    };
    live.ended.abort();
    if (exit.oomKilled) this.event(record, "oom");
    this.event(record, "die", { exitCode: String(exit.code), execDuration: String(Math.floor(ranMs / 1000)) });
    await this.#lock.run(record.id, async () => {
      try {
        const cleaning = this.launcher.down(record, live.sandbox);
        await this.store.save(record).catch(() => {});
        await cleaning;
      } catch (error) {
        this.deps.ctx.log.error("a container's leftovers stay until the next start", { container: record.id, error });
      }
      for (const wake of this.#exitWaiters.get(record.id) ?? []) wake(exit.code);
      this.#exitWaiters.delete(record.id);
      if (!again && record.hostConfig.AutoRemove) await this.#remove(record, true);
    });
    if (again && record.state.status === "restarting")
      this.#restarts.schedule(record.id, ranMs, () => void this.#restartNow(record));
  }

  async #restartNow(record: ContainerRecord): Promise<void> {
    try {
      await this.#lock.run(record.id, async () => {
        if (record.state.status !== "restarting") return;
        record.restartCount++;
        await this.#start(record);
      });
    } catch (error) {
      this.deps.ctx.log.warn("a container could not be restarted", { container: record.id, error });
    }
  }

  /** False when it doesn't run. */
  async stop(ref: string, options: { signal?: string; timeoutSeconds?: number } = {}): Promise<boolean> {
    const record = this.store.get(ref);
    const signal = parseSignal(options.signal || record.config.StopSignal || "SIGTERM");
    if (this.#restarts.cancel(record.id) || record.state.status === "restarting") {
      record.stoppedByUser = true;
      record.state.status = "exited";
      await this.store.save(record);
      return true;
    }
    if (!isRunning(record)) return false;
    record.stoppedByUser = true;
    await this.#saveIfRoom(record);
    const seconds = options.timeoutSeconds ?? record.config.StopTimeout ?? DEFAULT_STOP_SECONDS;
    const exited = this.#nextExit(record.id);
    await this.#signal(record, seconds === 0 ? SIGKILL : signal).catch(() => {});
    if (record.state.status === "paused" && seconds !== 0) await this.unpause(ref).catch(() => {});
    const { clock } = this.deps.ctx;
    if (seconds > 0) {
      const inTime = await Promise.race([exited.then(() => true), clock.sleep(seconds * 1000).then(() => false)]);
      if (!inTime) await this.#signal(record, SIGKILL).catch(() => {});
    }
    const ended =
      seconds < 0 ? exited : Promise.race([exited.then(() => true), clock.sleep(KILL_WAIT_MS).then(() => false)]);
    if ((await ended) === false)
      throw failedPrecondition(`container ${record.id} did not end ${KILL_WAIT_MS / 1000} s after SIGKILL`);
    this.event(record, "stop");
    return true;
  }

  async restart(ref: string, options: { signal?: string; timeoutSeconds?: number } = {}): Promise<void> {
    const record = this.store.get(ref);
    const autoRemove = record.hostConfig.AutoRemove;
    // A restart is no end.
    record.hostConfig.AutoRemove = false;
    try {
      await this.stop(ref, options);
    } finally {
      record.hostConfig.AutoRemove = autoRemove;
    }
    await this.start(record.id);
    this.event(record, "restart");
  }

  async kill(ref: string, signalName = "SIGKILL"): Promise<void> {
    const record = this.store.get(ref);
    const signal = parseSignal(signalName || "SIGKILL");
    if (!isRunning(record)) throw conflict(`cannot kill container: ${ref}: container ${record.id} is not running`);
    if (signal === SIGKILL || signal === parseSignal(record.config.StopSignal || "SIGTERM"))
      record.stoppedByUser = true;
    const exited = this.#nextExit(record.id);
    await this.#signal(record, signal);
    if (signal === SIGKILL) await Promise.race([exited, this.deps.ctx.clock.sleep(KILL_WAIT_MS)]);
  }

  async #signal(record: ContainerRecord, signal: number): Promise<void> {
    const live = this.live(record);
    this.event(record, "kill", { signal: String(signal) });
    await live.container.kill(signal);
  }

  async pause(ref: string): Promise<void> {
    const record = this.store.get(ref);
    await this.#lock.run(record.id, async () => {
      if (record.state.status === "paused") throw conflict(`container ${record.id} is already paused`);
      await this.live(record).container.pause();
      record.state.status = "paused";
      await this.store.save(record);
    });
    this.event(record, "pause");
  }
  async unpause(ref: string): Promise<void> {
    const record = this.store.get(ref);
    if (record.state.status !== "paused") throw conflict(`Container ${record.id} is not paused`);
    await this.live(record).container.resume();
    record.state.status = "running";
    await this.store.save(record);
    this.event(record, "unpause");
  }

  async rename(ref: string, name: string): Promise<void> {
    const record = this.store.get(ref);
    const fresh = name.replace(/^\//, "");
    if (fresh === "") throw badRequest("Neither old nor new names may be empty");
    if (fresh === record.name) throw badRequest("Renaming a container with the same name as its current name");
    const old = record.name;
    this.store.reserveName(fresh, record.id);
    this.store.releaseName(old);
    record.name = fresh;
    await this.store.save(record);
    if (this.deps.networks.sandbox(record.id)) this.deps.networks.rename(record.id, fresh);
    this.event(record, "rename", { oldName: `/${old}` });
  }

  async update(ref: string, limits: DockerHostConfig): Promise<string[]> {
    const record = this.store.get(ref);
    const given = Object.fromEntries(
      Object.entries(limits).filter(
        ([, value]) => value !== undefined && value !== null && value !== 0 && value !== "",
      ),
    );
    const { RestartPolicy, ...resources } = given as DockerHostConfig;
    const merged: DockerHostConfig = { ...record.hostConfig, ...resources };
    if (resources.NanoCpus) Object.assign(merged, { CpuPeriod: 0, CpuQuota: 0 });
    checkResources(merged);
    if (RestartPolicy?.Name) {
      if (record.hostConfig.AutoRemove && RestartPolicy.Name !== "no") {
        throw conflict("Restart policy cannot be updated because AutoRemove is enabled for the container");
      }
      merged.RestartPolicy = RestartPolicy;
    }
    const live = this.#live.get(record.id);
    if (live && Object.keys(resources).length > 0) await live.container.update(ociResources(merged));
    record.hostConfig = merged;
    await this.store.save(record);
    this.event(record, "update");
    return [];
  }

  // --- waiting, attaching, resizing

  /** Resolves with the exit code when the condition is met. */
  async wait(ref: string, condition: WaitCondition, signal: AbortSignal): Promise<number> {
    const record = this.store.get(ref);
    if (condition === "not-running" && !isRunning(record) && record.state.status !== "restarting")
      return record.state.exitCode;
    if (condition === "removed") {
      await abortable(new Promise<void>((resolve) => this.#listen(this.#removeWaiters, record.id, resolve)), signal);
      return record.state.exitCode;
    }
    return abortable(this.#nextExit(record.id), signal);
  }
  #nextExit(id: string): Promise<number> {
    return new Promise((resolve) => this.#listen(this.#exitWaiters, id, resolve));
  }
  #listen<T>(map: Map<string, Set<T>>, id: string, listener: T): void {
    const set = map.get(id) ?? new Set();
    set.add(listener);
    map.set(id, set);
  }

  /** The live stdio: now when it runs, else at its next start; undefined when `signal` is aborted before. */
  async attach(ref: string, signal: AbortSignal): Promise<AttachStream | undefined> {
    const record = this.store.get(ref);
    if (record.state.status === "paused")
      throw conflict(`container ${record.id} is paused, unpause the container before attach`);
    const live = this.#live.get(record.id);
    return live ? live.container.attach() : this.attachWaiters.wait(record.id, signal);
  }
  async resize(ref: string, size: TtySize): Promise<void> {
    await this.live(this.store.get(ref)).container.resize(size);
  }

  /** The running container of a record. Throws conflict, in Docker's words. */
  live(record: ContainerRecord): Live {
    const live = this.#live.get(record.id);
    if (!live) throw conflict(`container ${record.id} is not running`);
    return live;
  }
  isLive(id: string): boolean {
    return this.#live.has(id);
  }
  /** Aborted when no more log will come. */
  endOf(record: ContainerRecord): AbortSignal {
    return this.#live.get(record.id)?.ended.signal ?? AbortSignal.abort();
  }

  /** Mounts the root of a container that doesn't run, for somebody who reads or writes files there. Shared by all who ask meanwhile. */
  async borrowRoot(record: ContainerRecord): Promise<{ path: string } & AsyncDisposable> {
    const path = this.launcher.rootfs(record);
    await this.#lock.run(record.id, async () => {
      const users = this.#borrowed.get(record.id) ?? 0;
      if (users === 0 && !isRunning(record)) await this.deps.snapshots.mount(record.id, path);
      this.#borrowed.set(record.id, users + 1);
    });
    return {
      path,
      [Symbol.asyncDispose]: () =>
        this.#lock.run(record.id, async () => {
          const users = (this.#borrowed.get(record.id) ?? 1) - 1;
          if (users > 0) return void this.#borrowed.set(record.id, users);
          this.#borrowed.delete(record.id);
          if (!isRunning(record) && this.store.byId(record.id)) await this.launcher.down(record);
        }),
    };
  }

  // --- networks

  async connectNetwork(ref: string, network: string, settings: DockerEndpointSettings = {}): Promise<void> {
    const record = this.store.get(ref);
    const { networks } = this.deps;
    const { name } = networks.get(network);
    const mode = record.hostConfig.NetworkMode ?? "";
    if (mode === "host")
      throw badRequest("container cannot be disconnected from host network or connected to host network");
    await this.#lock.run(record.id, async () => {
      if (networks.sandbox(record.id)) await networks.connect(record.id, network, endpointSpec(record, settings));
      record.endpoints[name] = settings;
      await this.store.save(record);
      await this.#refreshNetworkFiles(record);
    });
  }
  async disconnectNetwork(ref: string, network: string): Promise<void> {
    const record = this.store.get(ref);
    const { networks } = this.deps;
    const { name, id } = networks.get(network);
    await this.#lock.run(record.id, async () => {
      const key = Object.keys(record.endpoints).find((given) => given === name || given === id || id.startsWith(given));
      if (key === undefined) throw notFound(`container ${record.id} is not connected to network ${name}`);
      if (networks.sandbox(record.id)) await networks.disconnect(record.id, network);
      delete record.endpoints[key];
      await this.store.save(record);
      await this.#refreshNetworkFiles(record);
    });
  }
  async #refreshNetworkFiles(record: ContainerRecord): Promise<void> {
    const sandbox = this.deps.networks.sandbox(record.id);
    if (sandbox && isRunning(record)) await this.launcher.writeNetworkFiles(record, sandbox);
  }

  // --- logs

  /** The log's files, oldest first. */
  logFiles(record: ContainerRecord): Promise<string[]> {
    return logFilesOf(record, this.launcher.logPath(record));
  }
  #watchLogs(): void {
    if (this.#closed) return;
    this.#logTimer = this.deps.ctx.clock.after(
      LOG_CHECK_MS,
      () => void this.#rotateLogs().finally(() => this.#watchLogs()),
    );
  }
  async #rotateLogs(): Promise<void> {
    for (const [id, { container }] of this.#live) {
      const record = this.store.byId(id);
      const file = record && this.launcher.logPath(record);
      if (record && file !== undefined) await rotateLog(record, file, () => container.reopenLog()).catch(() => {});
    }
  }

  event(record: ContainerRecord, action: string, attributes: Readonly<Record<string, string>> = {}): void {
    this.deps.events.publish("container", action, record.id, {
      ...record.config.Labels,
      image: record.config.Image ?? "",
      name: record.name,
      ...attributes,
    });
  }
}

const badRequest = (message: string) => new BerthError("invalidArgument", message);

function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason as Error);
    signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
    promise.then(resolve, reject);
  });
}
