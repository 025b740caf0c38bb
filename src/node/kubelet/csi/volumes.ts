import { createHash } from "node:crypto";
import { mkdir, readdir, rmdir } from "node:fs/promises";
import path from "node:path";
import { failedPrecondition, KeyedMutex, notFound, parseQuantity, rfc3339, type Clock } from "../../../base/index.ts";
import type { KubeletApi } from "../kubelet-api.ts";
import type { k8s, Pod, Volume } from "../pod/imports.ts";
import type { CsiDriver, StageRequest, VolumeCapability } from "./driver.ts";
import type { CsiDrivers } from "./drivers.ts";
import type { VolumeUsage } from "../volumes/stats.ts";
import type { TokenCache } from "../volumes/tokens.ts";
import { giveToGroup } from "./ownership.ts";
import {
  accessMode,
  CSI_FOLDER,
  podInfo,
  recordsOf,
  removeRecord,
  takesFsGroup,
  targetOf,
  writeRecord,
  type PublishedVolume,
  type VolumeRecord,
} from "./records.ts";

export interface CsiVolumesOptions {
  readonly api: KubeletApi;
  readonly clock: Clock;
  readonly drivers: CsiDrivers;
  readonly tokens: TokenCache;
  readonly nodeName: string;
  /** `mountsRoot/UID` holds what is mounted for a Pod. */
  readonly mountsRoot: string;
  /** Volumes are staged below it. */
  readonly pluginsRoot: string;
  /** Writes the node's status: which volumes are in use has changed. */
  readonly report: () => Promise<void>;
}

/** One volume of a Pod, wherever it is described. */
interface Wanted {
  readonly name: string;
  readonly driver: string;
  readonly handle: string;
  readonly fsType: string | undefined;
  readonly mountOptions: readonly string[];
  readonly modes: readonly string[];
  readonly block: boolean;
  readonly readOnly: boolean;
  readonly attributes: Readonly<Record<string, string>>;
  readonly stageSecret: k8s.SecretReference | undefined;
  readonly publishSecret: k8s.SecretReference | undefined;
  /** Undefined for an inline volume. */
  readonly volume: k8s.PersistentVolume | undefined;
}

const TOKENS = "csi.storage.k8s.io/serviceAccount.tokens";
const DEFAULT_TOKEN_SECONDS = 3600;
/** A driver that asks to be asked again (requiresRepublish) is so with the Pod's regular rounds, not with every round. */
const REPUBLISH_MS = 30_000;

/** How long one round waits for the attachment; the next one waits on. */
const ATTACH_WAIT_MS = 5_000;
const ATTACH_LOOK_MS = 200;

/**
 * Volumes of CSI drivers: attached by the controller, then staged once on the node and published for each Pod, and back. What was asked of a driver stands
 * on disk before it is asked, so that it is undone after a crash too. https://kubernetes-csi.github.io/docs/
 */
export class CsiVolumes {
  readonly #options: CsiVolumesOptions;
  /** By driver and handle: one thing at a time with each volume, as CSI asks. */
  readonly #alone = new KeyedMutex();
  /** Targets that this process has published, and when last. Monotonic. */
  readonly #published = new Map<string, number>();
  readonly #inUse = new Set<string>();

  constructor(options: CsiVolumesOptions) {
    this.#options = options;
  }

  /** node.status.volumesInUse: what may not be detached. */
  volumesInUse(): string[] {
    return [...this.#inUse].toSorted();
  }

  /** What a former process left published is in use still. */
  async recover(): Promise<void> {
    for (const uid of await readdir(this.#options.mountsRoot).catch(() => []))
      for (const { record } of await recordsOf(path.join(this.#options.mountsRoot, uid)))
        if (record.uniqueName !== undefined) this.#inUse.add(record.uniqueName);
  }

  /** Returns where the volume is. Idempotent. Throws failedPrecondition with upstream's words for what is not there yet. */
  async mountClaimed(pod: Pod, volume: k8s.PersistentVolume, readOnly: boolean): Promise<string> {
    const csi = volume.spec!.csi!;
    return this.#mount(pod, {
      name: volume.metadata.name!,
      driver: csi.driver,
      handle: csi.volumeHandle,
      fsType: csi.fsType,
      mountOptions: volume.spec?.mountOptions ?? [],
      modes: volume.spec?.accessModes ?? [],
      block: volume.spec?.volumeMode === "Block",
      readOnly: readOnly || (csi.readOnly ?? false),
      attributes: csi.volumeAttributes ?? {},
      stageSecret: csi.nodeStageSecretRef,
      publishSecret: csi.nodePublishSecretRef,
      volume,
    });
  }

  /** A volume that the Pod describes itself: it lives as long as the Pod. */
  async mountInline(pod: Pod, volume: Volume): Promise<string> {
    const csi = volume.csi!;
    const secret = csi.nodePublishSecretRef && {
      name: csi.nodePublishSecretRef.name,
      namespace: pod.metadata.namespace,
    };
    return this.#mount(pod, {
      name: volume.name,
      driver: csi.driver,
      handle: `csi-${createHash("sha256").update(`${pod.metadata.uid}${volume.name}`).digest("hex")}`,
      fsType: csi.fsType,
      mountOptions: [],
      modes: ["ReadWriteOnce"],
      block: false,
      readOnly: csi.readOnly ?? false,
      attributes: csi.volumeAttributes ?? {},
      stageSecret: undefined,
      publishSecret: secret,
      volume: undefined,
    });
  }

  async #mount(pod: Pod, wanted: Wanted): Promise<string> {
    const folder = path.join(this.#options.mountsRoot, pod.metadata.uid!, "volumes", CSI_FOLDER, wanted.name);
    return this.#alone.run(`${wanted.driver}^${wanted.handle}`, async () => {
      const target = targetOf(folder);
      const nowMs = this.#options.clock.monotonicMs();
      const lastMs = this.#published.get(target);
      if (lastMs !== undefined && nowMs - lastMs < REPUBLISH_MS) return target;
      const facts = (await this.#options.api.csiDriver(wanted.driver))?.spec;
      if (lastMs === undefined || facts?.requiresRepublish)
        await this.#publish(pod, wanted, { folder, facts, again: lastMs !== undefined });
      this.#published.set(target, nowMs);
      return target;
    });
  }

  /** `again`: for the driver to renew what it has put there; nothing else is done over. */
  async #publish(
    pod: Pod,
    wanted: Wanted,
    { folder, facts, again }: { folder: string; facts: k8s.CSIDriverSpec | undefined; again: boolean },
  ): Promise<void> {
    const driver = this.#options.drivers.get(wanted.driver);
    const inline = wanted.volume === undefined;
    if (inline && !facts?.volumeLifecycleModes?.includes("Ephemeral"))
      throw failedPrecondition(
        `volume mode "Ephemeral" not supported by driver ${wanted.driver} (only supports ${JSON.stringify(facts?.volumeLifecycleModes ?? ["Persistent"])})`,
      );
    const attached = !inline && facts?.attachRequired !== false;
    const uniqueName = attached ? `kubernetes.io/csi/${wanted.driver}^${wanted.handle}` : undefined;
    const stagingPath = !inline && driver.stages ? this.#stagingPath(wanted) : undefined;
    await writeRecord(folder, {
      driverName: wanted.driver,
      volumeHandle: wanted.handle,
      specVolID: wanted.name,
      volumeLifecycleMode: inline ? "Ephemeral" : "Persistent",
      ...(stagingPath !== undefined && { stagingPath }),
      ...(uniqueName !== undefined && { uniqueName }),
    });
    const publishContext = uniqueName === undefined ? {} : await this.#attachment(wanted, uniqueName);
    const fsGroup = pod.spec?.securityContext?.fsGroup;
    const driverSetsGroup = fsGroup !== undefined && driver.capabilities.has("VOLUME_MOUNT_GROUP");
    const request: StageRequest = {
      volumeId: wanted.handle,
      stagingTargetPath: stagingPath ?? "",
      publishContext,
      secrets: {},
      volumeContext: wanted.attributes,
      volumeCapability: capability(driver, wanted, driverSetsGroup ? fsGroup : undefined),
    };
    if (stagingPath !== undefined && !again) {
      await mkdir(stagingPath, { recursive: true, mode: 0o750 });
      await driver.stage({ ...request, secrets: await this.#secret(wanted.stageSecret) });
    }
    await driver.publish({
      ...request,
      targetPath: targetOf(folder),
      readonly: wanted.readOnly,
      secrets: await this.#secret(wanted.publishSecret),
      volumeContext: await this.#context(pod, wanted, facts),
    });
    const chownable = !again && !driverSetsGroup && !wanted.block;
    if (fsGroup !== undefined && chownable && takesFsGroup(facts?.fsGroupPolicy, wanted)) {
      const onlyRoot = pod.spec?.securityContext?.fsGroupChangePolicy === "OnRootMismatch";
      await giveToGroup(targetOf(folder), fsGroup, onlyRoot);
    }
  }

  /** What the driver is told of the volume, and of its Pod as far as it asks: https://kubernetes-csi.github.io/docs/token-requests.html */
  async #context(
    pod: Pod,
    { attributes, volume }: Wanted,
    facts: k8s.CSIDriverSpec | undefined,
  ): Promise<Record<string, string>> {
    const requests = facts?.tokenRequests ?? [];
    const tokens = await Promise.all(
      requests.map(async ({ audience, expirationSeconds = DEFAULT_TOKEN_SECONDS }) => {
        const { token, expirationMs } = await this.#options.tokens.token(pod, audience || undefined, expirationSeconds);
        return [audience, { token, expirationTimestamp: rfc3339(expirationMs) }] as const;
      }),
    );
    return {
      ...attributes,
      ...(facts?.podInfoOnMount ? podInfo(pod, volume === undefined) : {}),
      ...(tokens.length > 0 ? { [TOKENS]: JSON.stringify(Object.fromEntries(tokens)) } : {}),
    };
  }

  /** Waits a while for the driver's attacher. Returns what it wants the node to know. */
  async #attachment({ driver, handle, name }: Wanted, uniqueName: string): Promise<Record<string, string>> {
    const { api, clock, nodeName, report } = this.#options;
    if (!this.#inUse.has(uniqueName)) {
      this.#inUse.add(uniqueName);
      await report();
    }
    const attachment = `csi-${createHash("sha256").update(handle).update(driver).update(nodeName).digest("hex")}`;
    const deadline = clock.monotonicMs() + ATTACH_WAIT_MS;
    for (;;) {
      const status = (await api.volumeAttachment(attachment))?.status;
      if (status?.attached) return status.attachmentMetadata ?? {};
      if (status?.attachError || clock.monotonicMs() >= deadline) {
        const why = status?.attachError?.message;
        throw failedPrecondition(
          `volume "${name}" has not been attached to this node yet by driver ${driver} (volumeattachment ${attachment})${why ? `: ${why}` : ""}`,
        );
      }
      await clock.sleep(ATTACH_LOOK_MS);
    }
  }

  /**
   * Lets the driver grow a volume whose capacity was raised, and says so in the claim. Returns the new size; undefined when there was nothing to do.
   * https://kubernetes.io/docs/concepts/storage/persistent-volumes/#csi-volume-expansion
   */
  async expand(pod: Pod, claim: k8s.PersistentVolumeClaim, volume: k8s.PersistentVolume): Promise<string | undefined> {
    const csi = volume.spec!.csi!;
    const size = volume.spec?.capacity?.["storage"];
    const has = claim.status?.capacity?.["storage"];
    const pending = claim.status?.conditions?.some(({ type }) => type === "FileSystemResizePending");
    if (!pending || !size || !has || parseQuantity(size) <= parseQuantity(has)) return undefined;
    const driver = this.#options.drivers.get(csi.driver);
    return this.#alone.run(`${csi.driver}^${csi.volumeHandle}`, async () => {
      const folder = path.join(
        this.#options.mountsRoot,
        pod.metadata.uid!,
        "volumes",
        CSI_FOLDER,
        volume.metadata.name!,
      );
      if (driver.capabilities.has("EXPAND_VOLUME")) {
        const { accessModes: modes = [], mountOptions = [], volumeMode } = volume.spec!;
        const wanted = { ...csi, modes, mountOptions, block: volumeMode === "Block" };
        await driver.expand({
          volumeId: csi.volumeHandle,
          volumePath: targetOf(folder),
          stagingTargetPath: driver.stages ? this.#stagingPath({ driver: csi.driver, handle: csi.volumeHandle }) : "",
          capacityRange: { requiredBytes: parseQuantity(size) },
          volumeCapability: capability(driver, wanted, undefined),
          secrets: await this.#secret(csi.nodeExpandSecretRef),
        });
      }
      await this.#options.api.writeClaimStatus(claim, {
        capacity: { ...claim.status?.capacity, storage: size },
        conditions: (claim.status?.conditions ?? []).filter(({ type }) => type !== "FileSystemResizePending"),
      });
      return size;
    });
  }

  /** What its driver says of the volume at a target; undefined when it says nothing, "none" when there is no volume of a driver. */
  async usage(uid: string, target: string): Promise<VolumeUsage | "none" | undefined> {
    const published = await recordsOf(path.join(this.#options.mountsRoot, uid));
    const record = published.find(({ folder }) => targetOf(folder) === target)?.record;
    if (!record) return "none";
    const driver = this.#options.drivers.get(record.driverName);
    if (!driver.capabilities.has("GET_VOLUME_STATS")) return undefined;
    const { volumeHandle: volumeId, stagingPath: stagingTargetPath = "" } = record;
    return driver.usage({ volumeId, volumePath: target, stagingTargetPath });
  }

  /** Gives back everything that a Pod had. Throws when a driver is not there or refuses: nothing below may be removed then. */
  async teardown(uid: string): Promise<void> {
    for (const published of await recordsOf(path.join(this.#options.mountsRoot, uid))) {
      const { driverName, volumeHandle } = published.record;
      await this.#alone.run(`${driverName}^${volumeHandle}`, () => this.#unpublish(uid, published));
    }
  }

  async #unpublish(uid: string, { folder, record }: PublishedVolume): Promise<void> {
    const driver = this.#options.drivers.get(record.driverName);
    const target = targetOf(folder);
    this.#published.delete(target);
    await driver.unpublish(record.volumeHandle, target);
    if (!(await this.#hasOthers(uid, record))) {
      if (record.stagingPath !== undefined) {
        await driver.unstage(record.volumeHandle, record.stagingPath);
        await rmdir(record.stagingPath).catch(() => {});
        await rmdir(path.dirname(record.stagingPath)).catch(() => {});
      }
      if (record.uniqueName !== undefined && this.#inUse.delete(record.uniqueName)) await this.#options.report();
    }
    await removeRecord(folder);
  }

  /** Another Pod here has the volume too. */
  async #hasOthers(uid: string, { driverName, volumeHandle }: VolumeRecord): Promise<boolean> {
    for (const other of await readdir(this.#options.mountsRoot).catch(() => [])) {
      if (other === uid) continue;
      const records = await recordsOf(path.join(this.#options.mountsRoot, other));
      if (records.some(({ record }) => record.driverName === driverName && record.volumeHandle === volumeHandle))
        return true;
    }
    return false;
  }

  #stagingPath({ driver, handle }: Pick<Wanted, "driver" | "handle">): string {
    const folder = createHash("sha256").update(handle).digest("hex");
    return path.join(this.#options.pluginsRoot, "kubernetes.io/csi", driver, folder, "globalmount");
  }

  async #secret(reference: k8s.SecretReference | undefined): Promise<Record<string, string>> {
    if (!reference?.name) return {};
    const secret = await this.#options.api.secret(reference.namespace ?? "default", reference.name);
    if (!secret) throw notFound(`secret "${reference.name}" not found`);
    return Object.fromEntries(
      Object.entries(secret.data ?? {}).map(([key, value]) => [key, Buffer.from(value, "base64").toString()]),
    );
  }
}

function capability(
  driver: CsiDriver,
  {
    fsType,
    mountOptions,
    modes,
    block,
  }: Pick<Wanted, "mountOptions" | "modes" | "block"> & { readonly fsType?: string | undefined },
  group: number | undefined,
): VolumeCapability {
  const mount = {
    fsType: fsType ?? "",
    mountFlags: mountOptions,
    ...(group !== undefined && { volumeMountGroup: String(group) }),
  };
  return {
    ...(block ? { block: {} } : { mount }),
    accessMode: { mode: accessMode(modes, driver.capabilities.has("SINGLE_NODE_MULTI_WRITER")) },
  };
}
