import { conflict, KeyedMutex } from "../../../base/index.ts";
import type { DockerCreateBody, DockerEndpointSettings, DockerHostConfig } from "../../../api/index.ts";
import type { Digest } from "../../content/index.ts";
import type { AttachStream, Sandbox, TtySize } from "../runtime/index.ts";
import { connectNetwork, disconnectNetwork } from "./connections.ts";
import { Creator, type CreateOptions } from "./creator.ts";
import type { ContainerDeps } from "./deps.ts";
import { ExecRegistry } from "./execs.ts";
import { Launcher } from "./launcher.ts";
import { Lifecycle } from "./lifecycle.ts";
import { LiveContainers, type Live } from "./live.ts";
import { logFilesOf } from "./log-files.ts";
import { LogRotation } from "./log-rotation.ts";
import { publish, type ContainerParts } from "./parts.ts";
import { isRunning, type ContainerRecord } from "./record.ts";
import { recoverContainers } from "./recovery.ts";
import { BorrowedRoots, type BorrowedRoot } from "./roots.ts";
import { renameContainer, updateContainer } from "./settings.ts";
import { Stopping, type StopOptions } from "./stopping.ts";
import { ContainerStore } from "./store.ts";
import { ContainerWaiters } from "./waiters.ts";

export type WaitCondition = "not-running" | "next-exit" | "removed";

/** Docker's containers: the one object that routes speak to. Each verb finds its record here, and its subject has a file of its own. */
export class DockerContainers {
  readonly deps: ContainerDeps;
  readonly store: ContainerStore;
  readonly execs: ExecRegistry;
  readonly launcher: Launcher;
  readonly #parts: ContainerParts;
  readonly #creator: Creator;
  readonly #lifecycle: Lifecycle;
  readonly #stopping: Stopping;
  readonly #roots: BorrowedRoots;
  readonly #logs: LogRotation;

  constructor(deps: ContainerDeps) {
    this.deps = deps;
    this.store = new ContainerStore(`${deps.ctx.dataDir}/containers`);
    this.launcher = new Launcher(deps, this.store);
    this.#parts = {
      deps,
      store: this.store,
      launcher: this.launcher,
      live: new LiveContainers(),
      waiters: new ContainerWaiters(),
      lock: new KeyedMutex(),
    };
    this.#creator = new Creator(deps, this.store);
    this.execs = new ExecRegistry(this.#parts);
    this.#lifecycle = new Lifecycle(this.#parts, this.execs);
    this.#stopping = new Stopping(this.#parts, this.#lifecycle);
    this.#roots = new BorrowedRoots(this.#parts);
    this.#logs = new LogRotation(this.#parts);
    deps.images.setUsers(() =>
      this.store.list().flatMap((record) =>
        [record.imageId as Digest, ...record.mounts.flatMap((mount) => mount.imageId ?? [])].map((imageId) => ({
          containerId: record.id,
          imageId,
          running: isRunning(record),
        })),
      ),
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
    const running = this.store.list().filter(isRunning);
    return new Set(running.map((record) => record.id));
  }

  /** Takes over what a former daemon left: `sandboxes` is what the isolations recovered. */
  async recover(sandboxes: readonly Sandbox[]): Promise<void> {
    await recoverContainers(this.#parts, this.#lifecycle, sandboxes);
    this.#logs.start();
  }

  /** Containers run on. */
  async close(): Promise<void> {
    this.#logs.close();
    this.#lifecycle.close();
  }

  // --- create, start, stop, remove

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
    // Somebody may start it again after it was ended.
    for (let removed = false; !removed; removed = await this.#lifecycle.remove(record, options.volumes ?? false)) {
      if (!isRunning(record)) continue;
      if (!options.force) {
        const hint =
          record.state.status === "paused"
            ? "container is paused and must be unpaused first"
            : "container is running: stop the container before removing or force remove";
        throw conflict(`cannot remove container "/${record.name}": ${hint}`);
      }
      await this.#stopping.end(record);
    }
  }

  /** False when it runs already. */
  async start(ref: string): Promise<boolean> {
    return this.#lifecycle.start(this.store.get(ref).id);
  }
  /** False when it doesn't run. */
  async stop(ref: string, options: StopOptions = {}): Promise<boolean> {
    return this.#stopping.stop(this.store.get(ref), options);
  }
  async restart(ref: string, options: StopOptions = {}): Promise<void> {
    const record = this.store.get(ref);
    const autoRemove = record.hostConfig.AutoRemove;
    // A restart is no end.
    record.hostConfig.AutoRemove = false;
    try {
      await this.#stopping.stop(record, options);
    } finally {
      record.hostConfig.AutoRemove = autoRemove;
    }
    await this.start(record.id);
    this.event(record, "restart");
  }
  async kill(ref: string, signalName = "SIGKILL"): Promise<void> {
    await this.#stopping.kill(this.store.get(ref), ref, signalName);
  }
  async pause(ref: string): Promise<void> {
    await this.#stopping.pause(this.store.get(ref));
  }
  async unpause(ref: string): Promise<void> {
    await this.#stopping.unpause(this.store.get(ref));
  }

  // --- settings and networks

  async rename(ref: string, name: string): Promise<void> {
    const { id } = this.store.get(ref);
    await this.#parts.lock.run(id, () => renameContainer(this.#parts, this.store.get(id), name));
  }
  async update(ref: string, limits: DockerHostConfig): Promise<string[]> {
    const { id } = this.store.get(ref);
    return this.#parts.lock.run(id, () => updateContainer(this.#parts, this.store.get(id), limits));
  }
  async connectNetwork(ref: string, network: string, settings: DockerEndpointSettings = {}): Promise<void> {
    await connectNetwork(this.#parts, this.store.get(ref), network, settings);
  }
  async disconnectNetwork(ref: string, network: string): Promise<void> {
    await disconnectNetwork(this.#parts, this.store.get(ref), network);
  }

  // --- waiting, attaching, resizing

  /** Resolves with the exit code when the condition is met. */
  async wait(ref: string, condition: WaitCondition, signal: AbortSignal): Promise<number> {
    const record = this.store.get(ref);
    if (condition === "not-running" && !isRunning(record) && record.state.status !== "restarting")
      return record.state.exitCode;
    const { waiters } = this.#parts;
    return abortable(condition === "removed" ? waiters.removal(record.id) : waiters.nextExit(record.id), signal);
  }

  /** The live stdio: now when it runs, else at its next start; undefined when `signal` is aborted before. */
  async attach(ref: string, signal: AbortSignal): Promise<AttachStream | undefined> {
    const record = this.store.get(ref);
    if (record.state.status === "paused")
      throw conflict(`container ${record.id} is paused, unpause the container before attach`);
    const live = this.#parts.live.find(record.id);
    return live ? live.container.attach() : this.#lifecycle.attachWaiters.wait(record.id, signal);
  }
  async resize(ref: string, size: TtySize): Promise<void> {
    await this.live(this.store.get(ref)).container.resize(size);
  }

  /** The running container of a record. Throws conflict, in Docker's words. */
  live(record: ContainerRecord): Live {
    return this.#parts.live.get(record);
  }
  isLive(id: string): boolean {
    return this.#parts.live.find(id) !== undefined;
  }
  /** Aborted when no more log will come. */
  endOf(record: ContainerRecord): AbortSignal {
    return this.#parts.live.find(record.id)?.ended.signal ?? AbortSignal.abort();
  }
  /** The root of a container that doesn't run, with its volumes and folders of the host in it, or without. */
  async borrowRoot(record: ContainerRecord, withoutMounts = false): Promise<BorrowedRoot> {
    const root = await this.#roots.borrow(record);
    return withoutMounts ? { ...root, path: this.launcher.rootfs(record) } : root;
  }
  /** The names of the log's files, oldest first. */
  logFiles(record: ContainerRecord): string[] {
    return logFilesOf(record, this.launcher.logPath(record));
  }
  event(record: ContainerRecord, action: string, attributes: Readonly<Record<string, string>> = {}): void {
    publish(this.deps, record, action, attributes);
  }
}

function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason as Error);
    signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
    promise.then(resolve, reject);
  });
}
