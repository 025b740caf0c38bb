import path from "node:path";
import { messageOf, type Clock, type Logger } from "../../../base/index.ts";
import type { KubeletConfiguration } from "../configuration.ts";
import { Eviction } from "../eviction/eviction.ts";
import type { StorageUsage } from "../eviction/local-storage.ts";
import type { PodUsage } from "../eviction/rank.ts";
import { DEFAULT_EVICTION_HARD, parseThresholds, type Observations } from "../eviction/thresholds.ts";
import type { KubeletHost } from "../kubelet-api.ts";
import type { cri, Pod } from "../pod/imports.ts";
import type { Verdict } from "../pod/verdict.ts";
import { LABELS } from "../runtime/sandbox-config.ts";
import { diskUsage } from "../../disk-usage.ts";
import { ImageGc } from "./image-gc.ts";
import { LOG_MAX_BYTES, LOG_MAX_FILES, rotateLogs } from "./log-rotation.ts";

export interface UpkeepOptions {
  readonly host: KubeletHost;
  readonly runtime: cri.RuntimeService;
  readonly images: cri.ImageService;
  readonly clock: Clock;
  readonly log: Logger;
  readonly dataDir: string;
  readonly configuration: KubeletConfiguration;
  readonly pods: () => readonly Pod[];
  readonly podFolder: (uid: string) => string;
  /** Where a Pod's logs are, a folder for each container. */
  readonly logFolder: (pod: Pod) => string;
  readonly evict: (pod: Pod, verdict: Verdict, graceSeconds: number) => void;
  /** The node's conditions have changed. */
  readonly onPressure: () => void;
}

/** Upstream looks each 10 s for pressure and at logs, each 5 min at images. */
const ROUND_MS = 10_000;
const IMAGE_ROUNDS = 30;

/** What a node does for its own health: logs rotated, unused images removed, Pods evicted before it runs out. */
export class Upkeep {
  readonly #options: UpkeepOptions;
  readonly #imageGc: ImageGc;
  readonly #eviction: Eviction;

  constructor(options: UpkeepOptions) {
    const { images, runtime, clock, log } = options;
    this.#options = options;
    this.#imageGc = new ImageGc({ images, runtime, clock, log, diskUsed: () => this.#diskUsed() });
    this.#eviction = new Eviction({
      clock,
      thresholds: parseThresholds(options.configuration.evictionHard ?? DEFAULT_EVICTION_HARD),
      observe: () => this.#observe(),
      pods: options.pods,
      usage: () => this.#usage(),
      reclaimDisk: async () => (await this.#imageGc.freeAll()) > 0,
      soft: {
        thresholds: parseThresholds(options.configuration.evictionSoft ?? ""),
        graceMs: options.configuration.evictionSoftGracePeriodMs,
        maxPodGraceSeconds: options.configuration.evictionMaxPodGracePeriodSeconds,
      },
      storage: (pods) => this.#storage(pods),
      evict: options.evict,
    });
  }

  pressure(): { memory: boolean; disk: boolean; pid: boolean } {
    return this.#eviction.pressure();
  }

  async run(signal: AbortSignal): Promise<void> {
    for (let round = 1; !signal.aborted; round++) {
      await this.#options.clock.sleep(ROUND_MS, signal).catch(() => {});
      if (signal.aborted) return;
      await this.#attempt("evicting", async () => {
        if (await this.#eviction.round()) this.#options.onPressure();
      });
      await this.#attempt("rotating logs", () =>
        rotateLogs({ ...this.#options, maxBytes: LOG_MAX_BYTES, maxFiles: LOG_MAX_FILES }),
      );
      if (round % IMAGE_ROUNDS === 0) await this.#attempt("removing images", () => this.#imageGc.round());
    }
  }

  async #attempt(what: string, run: () => Promise<unknown>): Promise<void> {
    try {
      await run();
    } catch (error) {
      this.#options.log.warn("node upkeep failed", { what, error: messageOf(error) });
    }
  }

  async #diskUsed(): Promise<number> {
    const { totalBytes, availableBytes } = await this.#options.host.diskSpace(this.#options.dataDir);
    return totalBytes === 0 ? 0 : 1 - availableBytes / totalBytes;
  }

  async #observe(): Promise<Observations> {
    const { host, dataDir } = this.#options;
    const [memory, disk, processes] = await Promise.all([host.memory(), host.diskSpace(dataDir), host.processes()]);
    return {
      "memory.available": { available: memory.availableBytes, capacity: memory.totalBytes },
      "nodefs.available": { available: disk.availableBytes, capacity: disk.totalBytes },
      // Some file systems make inodes as they need them and count none.
      ...(disk.totalInodes > 0
        ? { "nodefs.inodesFree": { available: disk.freeInodes, capacity: disk.totalInodes } }
        : {}),
      "pid.available": { available: processes.max - processes.running, capacity: processes.max },
    };
  }

  async #storage(pods: readonly Pod[]): Promise<ReadonlyMap<Pod, StorageUsage>> {
    const stats = await this.#options.runtime.listPodSandboxStats();
    const layers = new Map(stats.map(({ attributes, containers }) => [attributes.labels[LABELS.podUid], containers]));
    const result = new Map<Pod, StorageUsage>();
    for (const pod of pods) result.set(pod, await this.#storageOf(pod, layers.get(pod.metadata.uid!) ?? []));
    return result;
  }

  async #storageOf(pod: Pod, layers: readonly cri.ContainerStats[]): Promise<StorageUsage> {
    const { podFolder, logFolder } = this.#options;
    const containers = new Map<string, number>();
    for (const { name } of pod.spec?.containers ?? []) {
      const layer = layers.find(({ attributes }) => attributes.metadata.name === name)?.writableLayer.usedBytes ?? 0;
      containers.set(name, layer + (await diskUsage(path.join(logFolder(pod), name))));
    }
    const emptyDirs = new Map<string, number>();
    for (const { name, emptyDir } of pod.spec?.volumes ?? [])
      if (emptyDir && emptyDir.medium !== "Memory")
        emptyDirs.set(name, await diskUsage(path.join(podFolder(pod.metadata.uid!), "volumes", name)));
    return { containers, emptyDirs };
  }

  async #usage(): Promise<ReadonlyMap<string, PodUsage>> {
    const stats = await this.#options.runtime.listPodSandboxStats();
    return new Map(
      stats.map(({ attributes, memory, process, containers }) => [
        attributes.labels[LABELS.podUid] ?? "",
        {
          memoryBytes: memory.workingSetBytes,
          diskBytes: containers.reduce((sum, container) => sum + container.writableLayer.usedBytes, 0),
          processes: process.processCount,
        },
      ]),
    );
  }
}
