import { lstat, mkdir, readdir, readFile, rename, rm, rmdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { failedPrecondition } from "../../../base/index.ts";
import type { k8s } from "../pod/imports.ts";

/** What stands beside the target of each published volume, so that it can be given back by whoever comes after: this process or the next. */
export interface VolumeRecord {
  readonly driverName: string;
  readonly volumeHandle: string;
  /** Of the PersistentVolume; of the Pod's volume for an inline one. */
  readonly specVolID: string;
  readonly volumeLifecycleMode: "Persistent" | "Ephemeral";
  /** Set when the driver was asked to stage the volume. */
  readonly stagingPath?: string;
  /** For one that had to be attached: as node.status.volumesInUse has it. */
  readonly uniqueName?: string;
}

const FILE = "vol_data.json";
/** As upstream's kubelet names it, which drivers may look for. */
export const CSI_FOLDER = "kubernetes.io~csi";

export interface PublishedVolume {
  /** Holds the record, and the target beside it. */
  readonly folder: string;
  readonly record: VolumeRecord;
}

export const targetOf = (folder: string): string => path.join(folder, "mount");

/** Written before the driver is asked for anything. */
export async function writeRecord(folder: string, record: VolumeRecord): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o750 });
  const pending = path.join(folder, `.${FILE}`);
  await writeFile(pending, JSON.stringify(record));
  await rename(pending, path.join(folder, FILE));
}

/** After the driver gave the target back. Throws when files are still there: they are somebody's data. */
export async function removeRecord(folder: string): Promise<void> {
  const target = targetOf(folder);
  await rmdir(target).catch(async (error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return;
    // The file that a device was published on; drivers are to remove it.
    const facts = await lstat(target);
    if (facts.isFile() && facts.size === 0) return rm(target);
    throw failedPrecondition(`the driver left files in ${target}`, { cause: error });
  });
  await rm(path.join(folder, FILE), { force: true });
}

/** The volumes published below a Pod's folder. */
export async function recordsOf(podFolder: string): Promise<PublishedVolume[]> {
  const root = path.join(podFolder, "volumes", CSI_FOLDER);
  const names = await readdir(root).catch(() => []);
  const found = await Promise.all(
    names.map(async (name) => {
      const folder = path.join(root, name);
      const text = await readFile(path.join(folder, FILE), "utf8").catch(() => undefined);
      return text === undefined ? [] : [{ folder, record: JSON.parse(text) as VolumeRecord }];
    }),
  );
  return found.flat();
}

/** CSI's names for Kubernetes' access modes. */
export function accessMode(modes: readonly string[], singleWriterKnown: boolean): string {
  if (modes.includes("ReadWriteMany")) return "MULTI_NODE_MULTI_WRITER";
  if (modes.includes("ReadOnlyMany") && modes.includes("ReadWriteOnce")) return "MULTI_NODE_SINGLE_WRITER";
  if (modes.includes("ReadOnlyMany")) return "MULTI_NODE_READER_ONLY";
  if (modes.includes("ReadWriteOncePod")) return singleWriterKnown ? "SINGLE_NODE_SINGLE_WRITER" : "SINGLE_NODE_WRITER";
  return singleWriterKnown ? "SINGLE_NODE_MULTI_WRITER" : "SINGLE_NODE_WRITER";
}

/** Who owns the files of a volume is changed to the Pod's fsGroup. https://kubernetes-csi.github.io/docs/support-fsgroup.html */
export function takesFsGroup(
  policy: string | undefined,
  volume: { readonly fsType: string | undefined; readonly modes: readonly string[]; readonly readOnly: boolean },
): boolean {
  if (volume.readOnly || policy === "None") return false;
  if (policy === "File") return true;
  return volume.fsType !== undefined && volume.fsType !== "" && volume.modes.includes("ReadWriteOnce");
}

/** What a driver that asked for it (podInfoOnMount) is told of the Pod. */
export function podInfo(pod: k8s.Pod, ephemeral: boolean): Record<string, string> {
  return {
    "csi.storage.k8s.io/pod.name": pod.metadata.name!,
    "csi.storage.k8s.io/pod.namespace": pod.metadata.namespace!,
    "csi.storage.k8s.io/pod.uid": pod.metadata.uid!,
    "csi.storage.k8s.io/serviceAccount.name": pod.spec?.serviceAccountName ?? "default",
    "csi.storage.k8s.io/ephemeral": String(ephemeral),
  };
}
