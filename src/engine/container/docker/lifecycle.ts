import { BerthError, conflict, messageOf } from "../../../base/index.ts";
import { tryPrimeCgroups } from "../../../host/index.ts";
import type { RuntimeContainer, RuntimeExit, Sandbox } from "../runtime/index.ts";
import { AttachWaiters } from "./attach.ts";
import type { ExecRegistry } from "./execs.ts";
import { healthCommand, HealthMonitor } from "./health.ts";
import type { Launcher } from "./launcher.ts";
import type { Live } from "./live.ts";
import { publish, saveIfRoom, type ContainerParts } from "./parts.ts";
import { isRunning, type ContainerRecord } from "./record.ts";
import { RestartTimers, wantsRestart } from "./restarts.ts";

/** created → running → exited (→ restarting → running) → removed. The end of a process comes by itself; the rest is asked for. */
export class Lifecycle {
  readonly attachWaiters = new AttachWaiters();
  readonly restarts: RestartTimers;
  readonly #parts: ContainerParts;
  readonly #execs: ExecRegistry;
  #closed = false;

  constructor(parts: ContainerParts, execs: ExecRegistry) {
    this.#parts = parts;
    this.#execs = execs;
    this.restarts = new RestartTimers(parts.deps.ctx.clock);
  }

  /** Containers run on. */
  close(): void {
    this.#closed = true;
    this.restarts.close();
    for (const [, live] of this.#parts.live.entries()) live.health?.stop();
  }

  /** False when it runs already. */
  async start(id: string): Promise<boolean> {
    this.restarts.cancel(id);
    return this.#parts.lock.run(id, () => this.#start(this.#parts.store.get(id)));
  }

  async #start(record: ContainerRecord): Promise<boolean> {
    if (record.state.status === "paused") throw conflict("cannot start a paused container, try unpause instead");
    if (record.state.status === "running") return false;
    if (record.state.status === "removing") throw conflict("container is marked for removal and cannot be started");
    const { deps, launcher, store } = this.#parts;
    tryPrimeCgroups(deps.core.cgroups);
    let up: Awaited<ReturnType<Launcher["up"]>> | undefined;
    try {
      up = await launcher.up(record);
      const { container, warnings } = up;
      for (const warning of warnings)
        deps.ctx.log.warn("a setting of the container was not applied", { container: record.id, warning });
      await this.attachWaiters.serve(record.id, () => container.attach());
      record.state = {
        status: "running",
        pid: container.pid,
        exitCode: 0,
        oomKilled: false,
        error: "",
        startedMs: deps.ctx.clock.nowMs(),
        finishedMs: 0,
      };
      if (healthCommand(record.config.Healthcheck))
        record.state.health = { status: "starting", failingStreak: 0, log: [] };
      record.stoppedByUser = false;
      // On disk before the first instruction runs: after a crash it is known to have been started.
      await store.save(record);
      await container.start();
    } catch (error) {
      await this.#startFailed(record, error, up?.sandbox);
      throw error;
    }
    publish(deps, record, "start");
    this.watch(record, up.container, up.sandbox);
    return true;
  }

  async #startFailed(record: ContainerRecord, error: unknown, sandbox?: Sandbox): Promise<void> {
    const details = error instanceof BerthError ? error.details : {};
    await this.#parts.launcher.down(record, sandbox);
    const exitCode = (details["exitCode"] as number | undefined) ?? 128;
    record.state = {
      ...record.state,
      status: record.state.startedMs > 0 ? "exited" : "created",
      pid: 0,
      exitCode,
      error: messageOf(error),
    };
    await this.#parts.store.save(record);
    if (record.hostConfig.AutoRemove) await this.#remove(record, true);
  }

  /** From here on the container counts as running: its health is probed and its end is noticed. */
  watch(record: ContainerRecord, container: RuntimeContainer, sandbox: Sandbox): void {
    const { deps, live: all, store } = this.#parts;
    const { clock } = deps.ctx;
    const startedMonotonicMs = clock.monotonicMs() - Math.max(0, clock.nowMs() - record.state.startedMs);
    const live: Live = { container, sandbox, startedMonotonicMs, ended: new AbortController() };
    all.add(record.id, live);
    const command = healthCommand(record.config.Healthcheck, record.config.Shell);
    if (command) {
      live.health = new HealthMonitor(
        deps.ctx.clock,
        record,
        record.config.Healthcheck!,
        (timeoutMs) => this.#execs.probe(record, command, timeoutMs),
        (state, changed) => {
          record.state.health = state;
          void store.save(record).catch(() => {});
          if (changed) publish(deps, record, `health_status: ${state.status}`);
        },
      );
    }
    void container.wait().then(
      (exit) => this.#onExit(record, live, exit),
      (error: unknown) => deps.ctx.log.error("lost sight of a container", { container: record.id, error }),
    );
  }

  async #onExit(record: ContainerRecord, live: Live, exit: RuntimeExit): Promise<void> {
    const { deps, launcher, lock, store, waiters } = this.#parts;
    if (this.#closed || !this.#parts.live.remove(record.id, live)) return;
    live.health?.stop();
    const ranMs = deps.ctx.clock.monotonicMs() - live.startedMonotonicMs;
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
    if (exit.oomKilled) publish(deps, record, "oom");
    const execDuration = String(Math.floor(ranMs / 1000));
    publish(deps, record, "die", { exitCode: String(exit.code), execDuration });
    await lock.run(record.id, async () => {
      try {
        const cleaning = launcher.down(record, live.sandbox);
        await store.save(record).catch(() => {});
        await cleaning;
      } catch (error) {
        deps.ctx.log.error("a container's leftovers stay until the next start", { container: record.id, error });
      }
      waiters.exited(record.id, exit.code);
      if (!again && record.hostConfig.AutoRemove) await this.#remove(record, true);
    });
    if (again && record.state.status === "restarting")
      this.restarts.schedule(record.id, ranMs, () => void this.#restartNow(record));
  }

  async #restartNow(record: ContainerRecord): Promise<void> {
    try {
      await this.#parts.lock.run(record.id, async () => {
        if (record.state.status !== "restarting") return;
        record.restartCount++;
        await this.#start(record);
      });
    } catch (error) {
      this.#parts.deps.ctx.log.warn("a container could not be restarted", { container: record.id, error });
    }
  }

  /** False, and nothing is done, when it runs. */
  async remove(record: ContainerRecord, withVolumes: boolean): Promise<boolean> {
    this.restarts.cancel(record.id);
    return this.#parts.lock.run(record.id, async () => {
      if (isRunning(record)) return false;
      await this.#remove(record, withVolumes);
      return true;
    });
  }

  async #remove(record: ContainerRecord, withVolumes: boolean): Promise<void> {
    const { deps, launcher, store, waiters } = this.#parts;
    if (!store.byId(record.id)) return;
    const { snapshots, volumes } = deps;
    record.state = { ...record.state, status: "removing", removingVolumes: withVolumes };
    await saveIfRoom(this.#parts, record);
    await launcher.down(record);
    await Promise.all([snapshots.remove(record.id), launcher.forget(record)]);
    for (const mount of record.mounts) {
      if (mount.Type !== "volume") continue;
      volumes.release(mount.Name!, record.id);
      if (withVolumes && mount.anonymous) await volumes.remove(mount.Name!).catch(() => {});
    }
    await store.remove(record);
    this.restarts.forget(record.id);
    this.#execs.forgetContainer(record.id);
    publish(deps, record, "destroy");
    waiters.removed(record.id, record.state.exitCode);
  }
}
