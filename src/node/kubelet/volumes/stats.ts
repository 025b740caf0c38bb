import { statfs } from "node:fs/promises";
import { SingleFlight, type Clock, type Logger } from "../../../base/index.ts";
import { treeUsage } from "../../disk-usage.ts";
import type { CsiVolumes } from "../csi/volumes.ts";
import type { Pod } from "../pod/imports.ts";
import type { MountedVolume, Volumes } from "./volumes.ts";

/** How full a volume is, as far as it is known. */
export interface VolumeUsage {
  readonly capacityBytes?: number;
  readonly availableBytes?: number;
  readonly usedBytes?: number;
  readonly inodes?: number;
  readonly inodesFree?: number;
  readonly inodesUsed?: number;
}

export interface PodVolumeStats {
  readonly podUid: string;
  /** As the Pod calls it. */
  readonly name: string;
  readonly claim?: { readonly namespace: string; readonly name: string };
  readonly measuredAtMs: number;
  readonly usage: VolumeUsage;
}

export interface VolumeStatsOptions {
  readonly clock: Clock;
  readonly log: Logger;
  readonly pods: () => readonly Pod[];
  readonly volumes: Pick<Volumes, "mounted">;
  readonly csi: Pick<CsiVolumes, "usage">;
}

/** Upstream's volumeStatsAggPeriod: counting files costs. Counted when asked, so that nobody pays who doesn't ask. */
const MAX_AGE_MS = 60_000;

/** How full the volumes of this node's Pods are: what drivers say of theirs, else by counting what is in them. */
export class VolumeStats {
  readonly #options: VolumeStatsOptions;
  readonly #flight = new SingleFlight<readonly PodVolumeStats[]>();
  #last: { readonly atMs: number; readonly stats: readonly PodVolumeStats[] } | undefined;

  constructor(options: VolumeStatsOptions) {
    this.#options = options;
  }

  async all(): Promise<readonly PodVolumeStats[]> {
    const nowMs = this.#options.clock.monotonicMs();
    if (this.#last && nowMs - this.#last.atMs < MAX_AGE_MS) return this.#last.stats;
    const stats = await this.#flight.run("", () => this.#measure());
    this.#last = { atMs: nowMs, stats };
    return stats;
  }

  async #measure(): Promise<readonly PodVolumeStats[]> {
    const { pods, volumes, clock } = this.#options;
    const stats: PodVolumeStats[] = [];
    for (const pod of pods()) {
      const { uid, namespace, name: podName } = pod.metadata;
      const mounted = volumes.mounted(uid!);
      for (const { name, hostPath, persistentVolumeClaim, ephemeral } of pod.spec?.volumes ?? []) {
        const volume = mounted?.get(name);
        // As upstream: what is the host's own, or an image's, is not the Pod's.
        const usage = volume && !hostPath && !volume.image ? await this.#usageOf(uid!, volume) : undefined;
        if (!usage) continue;
        const claim = persistentVolumeClaim?.claimName ?? (ephemeral && `${podName}-${name}`);
        const ref = claim === undefined ? {} : { claim: { namespace: namespace!, name: claim } };
        stats.push({ podUid: uid!, name, ...ref, measuredAtMs: clock.nowMs(), usage });
      }
    }
    return stats;
  }

  async #usageOf(uid: string, { hostPath, block }: MountedVolume): Promise<VolumeUsage | undefined> {
    try {
      const said = await this.#options.csi.usage(uid, hostPath);
      return said === "none" && !block ? await folderUsage(hostPath) : said === "none" ? undefined : said;
    } catch (error) {
      this.#options.log.debug("a volume can't be measured", { hostPath, error });
      return undefined;
    }
  }
}

/** What is in it, and what its file system has room for. */
async function folderUsage(folder: string): Promise<VolumeUsage> {
  const [{ bsize, blocks, bavail, files, ffree }, used] = await Promise.all([statfs(folder), treeUsage(folder)]);
  return {
    capacityBytes: blocks * bsize,
    availableBytes: bavail * bsize,
    usedBytes: used.bytes,
    inodes: files,
    inodesFree: ffree,
    inodesUsed: used.inodes,
  };
}
