import { failedPrecondition, hasCode, messageOf, parseQuantity, rfc3339 } from "../../../base/index.ts";
import { keyOf, resources, type KubeClient, type ObjectRef, type Stored } from "../../../client/index.ts";
import type { Controller, ControllerContext } from "../../../controllers/index.ts";
import type { k8s } from "../../../api/index.ts";
import type { Contents } from "../contents.ts";
import { ownPath } from "../own-volume.ts";
import { LOCAL_PROVISIONER } from "../storage-class.ts";
import { DEFAULT_CLASS } from "./crds.ts";
import {
  isHandle,
  SNAPSHOT_GROUP,
  volumeSnapshotClasses,
  volumeSnapshotContents,
  volumeSnapshots,
  type VolumeSnapshot,
  type VolumeSnapshotClass,
  type VolumeSnapshotContent,
} from "./types.ts";

type Snapshot = Stored<VolumeSnapshot>;
type Content = Stored<VolumeSnapshotContent>;

export interface LocalSnapshotsOptions {
  /** Whose rights suffice for volumes and snapshots. */
  readonly client: KubeClient;
  readonly volumes: Contents;
  /** Taken from them. */
  readonly contents: Contents;
}

/** Of its own: upstream's is on the snapshots of other drivers, which their controller keeps. */
const SNAPSHOT_FINALIZER = "berth.dev/local-snapshot";
const CONTENT_FINALIZER = "snapshot.storage.kubernetes.io/volumesnapshotcontent-bound-protection";
const RETRY_MS = 5_000;

/**
 * Takes snapshots of local volumes, and removes them. What CSI's snapshot controller and a driver's sidecar do together, for volumes of this provisioner only:
 * snapshots of other drivers are left to their own. https://github.com/kubernetes-csi/external-snapshotter
 */
export function localSnapshotsController(options: LocalSnapshotsOptions): Controller {
  return {
    name: "local-snapshots",
    serviceAccount: "persistent-volume-binder",
    component: "snapshot-controller",
    workers: 2,
    setup(context) {
      const snapshots = context.informer(volumeSnapshots);
      const contents = context.informer(volumeSnapshotContents);
      context.informer(volumeSnapshotClasses);
      const ofSnapshot = (snapshot: Snapshot) => context.enqueue(`snapshot ${keyOf(snapshot)}`);
      const ofContent = ({ metadata, spec }: Content) => {
        context.enqueue(`content ${metadata.name}`);
        context.enqueue(`snapshot ${spec.volumeSnapshotRef.namespace}/${spec.volumeSnapshotRef.name}`);
      };
      // Its content may wait for it to go.
      const gone = ({ status }: Snapshot) => context.enqueue(`content ${status?.boundVolumeSnapshotContentName}`);
      snapshots.onChange({ added: ofSnapshot, updated: ofSnapshot, deleted: gone });
      contents.onChange({ added: ofContent, updated: ofContent });
      const sync = new SnapshotSync(context, options);
      return {
        async reconcile(queued, signal) {
          const [kind, key] = queued.split(" ") as [string, string];
          const snapshot = kind === "snapshot" ? snapshots.get(key) : undefined;
          const content = kind === "content" ? contents.get(key) : undefined;
          if (content) await sync.content(content, signal);
          return snapshot ? sync.snapshot(snapshot, signal) : undefined;
        },
      };
    },
  };
}

class SnapshotSync {
  readonly #context: ControllerContext;
  readonly #options: LocalSnapshotsOptions;

  constructor(context: ControllerContext, options: LocalSnapshotsOptions) {
    this.#context = context;
    this.#options = options;
  }

  async snapshot(snapshot: Snapshot, signal: AbortSignal): Promise<{ requeueAfterMs: number } | undefined> {
    if (snapshot.metadata.deletionTimestamp) return this.#forget(snapshot, signal);
    if (snapshot.status?.readyToUse) return undefined;
    try {
      const given = snapshot.spec.source.volumeSnapshotContentName;
      const content = given === undefined ? await this.#create(snapshot, signal) : this.#given(snapshot, given);
      if (content) await this.#finish(snapshot, content, signal);
      return undefined;
    } catch (error) {
      if (!hasCode(error, "failedPrecondition", "notFound")) throw error;
      await this.#fail(snapshot, messageOf(error), signal);
      return { requeueAfterMs: RETRY_MS };
    }
  }

  /** Content that was deleted takes what is on disk with it, if its policy says so; but not from under its snapshot. */
  async content(content: Content, signal: AbortSignal): Promise<void> {
    const { metadata, spec, status } = content;
    if (spec.driver !== LOCAL_PROVISIONER || !metadata.deletionTimestamp) return;
    if (!metadata.finalizers?.includes(CONTENT_FINALIZER)) return;
    const { namespace, name, uid } = spec.volumeSnapshotRef;
    const snapshot = this.#context.informer(volumeSnapshots).get(`${namespace}/${name}`);
    if (snapshot?.metadata.uid === uid && !snapshot?.metadata.deletionTimestamp) return;
    const handle = status?.snapshotHandle ?? metadata.name;
    if (spec.deletionPolicy === "Delete" && isHandle(handle)) await this.#options.contents.remove(handle);
    await this.#release(volumeSnapshotContents, content, CONTENT_FINALIZER, signal);
  }

  /** Copies the volume. Undefined when the snapshot is another driver's. */
  async #create(snapshot: Snapshot, signal: AbortSignal): Promise<Content | undefined> {
    const snapshotClass = this.#classOf(snapshot);
    if (snapshotClass && snapshotClass.driver !== LOCAL_PROVISIONER) return undefined;
    const { volume, path } = this.#volumeOf(snapshot);
    if (!snapshotClass)
      throw failedPrecondition("Failed to set default snapshot class with error cannot find default snapshot class");
    await this.#protect(snapshot, signal);
    const contents = this.#options.client.of(volumeSnapshotContents);
    const wanted = contentFor(snapshot, snapshotClass, volume);
    const name = wanted.metadata!.name!;
    const content = await contents.create(wanted, { signal }).catch((error: unknown) => {
      if (!hasCode(error, "alreadyExists")) throw error;
      return contents.get({ name }, { signal });
    });
    const sizeBytes = parseQuantity(volume.spec?.capacity?.["storage"] ?? "0");
    const shape = { block: volume.spec?.volumeMode === "Block", sizeBytes };
    try {
      await this.#options.contents.copy(name, path, shape, signal);
    } catch (error) {
      if (!hasCode(error, "failedPrecondition", "notFound")) throw error;
      throw failedPrecondition(
        `Failed to check and update snapshot content: failed to take snapshot of the volume ${volume.metadata.name}: ${messageOf(error)}`,
        { cause: error },
      );
    }
    if (content.status?.readyToUse) return content;
    const status = {
      snapshotHandle: name,
      creationTime: this.#context.clock.nowMs() * 1e6,
      restoreSize: sizeBytes,
      readyToUse: true,
    };
    return contents.patch({ name }, { status }, { subresource: "status", signal });
  }

  /** One that was there before. */
  #given(snapshot: Snapshot, name: string): Content | undefined {
    const content = this.#context.informer(volumeSnapshotContents).get(name);
    if (!content) throw failedPrecondition(`VolumeSnapshotContent is missing: ${name}`);
    if (content.spec.driver !== LOCAL_PROVISIONER) return undefined;
    const { namespace, name: bound, uid } = content.spec.volumeSnapshotRef;
    if (`${namespace}/${bound}` !== keyOf(snapshot) || (uid && uid !== snapshot.metadata.uid))
      throw failedPrecondition(`VolumeSnapshotContent [${name}] is bound to a different snapshot`);
    return content;
  }

  async #finish(snapshot: Snapshot, content: Content, signal: AbortSignal): Promise<void> {
    const { client } = this.#options;
    await this.#protect(snapshot, signal);
    let { status } = content;
    if (!status?.readyToUse) {
      // Made by hand for what is on disk.
      const snapshotHandle = content.spec.source.snapshotHandle ?? "";
      if (!isHandle(snapshotHandle))
        throw failedPrecondition(`snapshot handle ${snapshotHandle} is none of this driver's`);
      const from = this.#context.informer(volumeSnapshotContents).list();
      const made = from.find((other) => other.status?.snapshotHandle === snapshotHandle && other.status.readyToUse);
      status = { snapshotHandle, readyToUse: true, creationTime: this.#context.clock.nowMs() * 1e6 };
      if (made?.status?.restoreSize !== undefined) status = { ...status, restoreSize: made.status.restoreSize };
      await client.of(volumeSnapshotContents).patch(content.metadata, { status }, { subresource: "status", signal });
    }
    const { creationTime, restoreSize } = status;
    await client.of(volumeSnapshots).patch(
      ref(snapshot),
      {
        status: {
          boundVolumeSnapshotContentName: content.metadata.name,
          readyToUse: true,
          creationTime: rfc3339((creationTime ?? 0) / 1e6),
          ...(restoreSize !== undefined && { restoreSize: String(restoreSize) }),
          error: null,
        },
      },
      { subresource: "status", signal },
    );
    const { events } = this.#context;
    const name = keyOf(snapshot);
    events.event(snapshot, "Normal", "SnapshotCreated", `Snapshot ${name} was successfully created by the CSI driver.`);
    events.event(snapshot, "Normal", "SnapshotReady", `Snapshot ${name} is ready to use.`);
  }

  async #fail(snapshot: Snapshot, message: string, signal: AbortSignal): Promise<void> {
    if (snapshot.status?.error?.message === message) return;
    const reason = /^Failed to (set default|get) snapshot class/.test(message)
      ? "SetDefaultSnapshotClassFailed"
      : "SnapshotContentCreationFailed";
    this.#context.events.event(snapshot, "Warning", reason, message);
    const error = { time: rfc3339(this.#context.clock.nowMs()), message };
    await this.#options.client
      .of(volumeSnapshots)
      .patch(ref(snapshot), { status: { readyToUse: false, error } }, { subresource: "status", signal });
  }

  /** Its content goes with it, unless it is to be retained. */
  async #forget(snapshot: Snapshot, signal: AbortSignal): Promise<undefined> {
    if (!snapshot.metadata.finalizers?.includes(SNAPSHOT_FINALIZER)) return;
    const name = snapshot.status?.boundVolumeSnapshotContentName ?? contentName(snapshot);
    const content = this.#context.informer(volumeSnapshotContents).get(name);
    if (content?.spec.deletionPolicy === "Delete" && content.spec.volumeSnapshotRef.uid === snapshot.metadata.uid)
      await this.#options.client
        .of(volumeSnapshotContents)
        .delete({ name }, { signal })
        .catch((error: unknown) => {
          if (!hasCode(error, "notFound")) throw error;
        });
    await this.#release(volumeSnapshots, snapshot, SNAPSHOT_FINALIZER, signal);
  }

  async #protect(snapshot: Snapshot, signal: AbortSignal): Promise<void> {
    const { finalizers = [], resourceVersion } = snapshot.metadata;
    if (finalizers.includes(SNAPSHOT_FINALIZER)) return;
    const metadata = { resourceVersion, finalizers: [...finalizers, SNAPSHOT_FINALIZER] };
    await this.#options.client.of(volumeSnapshots).patch(ref(snapshot), { metadata }, { signal });
  }

  async #release<T extends VolumeSnapshot | VolumeSnapshotContent>(
    resource: Parameters<KubeClient["of"]>[0],
    { metadata }: Stored<T>,
    finalizer: string,
    signal: AbortSignal,
  ): Promise<void> {
    const finalizers = (metadata.finalizers ?? []).filter((name) => name !== finalizer);
    const patch = { metadata: { resourceVersion: metadata.resourceVersion, finalizers } };
    await this.#options.client
      .of(resource)
      .patch({ name: metadata.name, namespace: metadata.namespace }, patch, { signal })
      .catch((error: unknown) => {
        if (!hasCode(error, "notFound")) throw error;
      });
  }

  #classOf({ spec }: Snapshot): Stored<VolumeSnapshotClass> | undefined {
    const classes = this.#context.informer(volumeSnapshotClasses);
    const name = spec.volumeSnapshotClassName;
    if (name === undefined)
      return classes
        .list()
        .find(
          ({ metadata, driver }) => driver === LOCAL_PROVISIONER && metadata.annotations?.[DEFAULT_CLASS] === "true",
        );
    const found = classes.get(name);
    if (!found)
      throw failedPrecondition(
        `Failed to get snapshot class with error failed to retrieve snapshot class ${name} from the informer: volumesnapshotclass.${SNAPSHOT_GROUP} "${name}" not found`,
      );
    return found;
  }

  #volumeOf(snapshot: Snapshot): { volume: Stored<k8s.PersistentVolume>; path: string } {
    const { namespace } = snapshot.metadata;
    const name = snapshot.spec.source.persistentVolumeClaimName!;
    const failed = (why: string) => failedPrecondition(`Failed to create snapshot content with error ${why}`);
    const claim = this.#context.informer(resources.persistentVolumeClaims).get(`${namespace}/${name}`);
    if (!claim)
      throw failed(`failed to retrieve PVC ${name} from the lister: "persistentvolumeclaim \\"${name}\\" not found"`);
    const volume = this.#context.informer(resources.persistentVolumes).get(claim.spec?.volumeName ?? "");
    if (claim.status?.phase !== "Bound" || !volume)
      throw failed(`the PVC ${name} is not yet bound to a PV, will not attempt to take a snapshot`);
    const path = ownPath(volume, this.#options.volumes);
    if (path === undefined) throw failed(`snapshotting non-CSI volumes is not supported, snapshot:${keyOf(snapshot)}`);
    return { volume, path };
  }
}

const contentName = (snapshot: Snapshot): string => `snapcontent-${snapshot.metadata.uid}`;
const ref = ({ metadata: { name, namespace } }: Snapshot): ObjectRef => ({ name, namespace });

function contentFor(
  snapshot: Snapshot,
  { metadata, driver, deletionPolicy }: Stored<VolumeSnapshotClass>,
  volume: Stored<k8s.PersistentVolume>,
): VolumeSnapshotContent {
  const { name, namespace, uid, resourceVersion } = snapshot.metadata;
  return {
    metadata: { name: contentName(snapshot), finalizers: [CONTENT_FINALIZER] },
    spec: {
      deletionPolicy,
      driver,
      source: { volumeHandle: volume.metadata.name },
      sourceVolumeMode: volume.spec?.volumeMode ?? "Filesystem",
      volumeSnapshotClassName: metadata.name,
      volumeSnapshotRef: {
        apiVersion: `${SNAPSHOT_GROUP}/v1`,
        kind: "VolumeSnapshot",
        name,
        namespace,
        uid,
        resourceVersion,
      },
    },
  };
}
