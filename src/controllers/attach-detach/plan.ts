import { createHash } from "node:crypto";
import type { k8s } from "../../api/index.ts";
import type { Stored } from "../../client/index.ts";

type Attachment = Stored<k8s.VolumeAttachment>;

/** A persistent volume of a CSI driver that has to be attached to a node before it can be used there. */
export interface AttachableVolume {
  /** Of the PersistentVolume. */
  readonly name: string;
  readonly driver: string;
  readonly handle: string;
  /** Every access mode is for one node alone. */
  readonly exclusive: boolean;
}

export interface Observed {
  /** Undefined when it is gone. */
  readonly node: k8s.Node | undefined;
  /** What the Pods on the node need. */
  readonly wanted: ReadonlyMap<string, AttachableVolume>;
  /** All of the cluster. */
  readonly attachments: readonly Attachment[];
  /** How long the node has not needed a volume that is attached to it. */
  readonly unneededMs: (attachment: Attachment) => number;
}

export interface Plan {
  readonly attach: readonly AttachableVolume[];
  readonly detach: readonly Attachment[];
  /** Held by another node, whose name goes along. */
  readonly blocked: ReadonlyArray<{ volume: AttachableVolume; by: string }>;
  /** Still mounted; look again later. */
  readonly waiting: boolean;
  /** node.status.volumesAttached. */
  readonly attached: readonly { name: string; devicePath: string }[];
}

/** Upstream's maxWaitForUnmountDuration: after that a volume is taken from a node that is ill. */
const MAX_UNMOUNT_WAIT_MS = 6 * 60_000;

/** As CSI's own sidecars and kubelets expect it. */
export function attachmentName({ handle, driver }: AttachableVolume, nodeName: string): string {
  return `csi-${createHash("sha256").update(handle).update(driver).update(nodeName).digest("hex")}`;
}

const OURS = /^csi-[0-9a-f]{64}$/;

/** Made by this controller (or upstream's); all others are left to who made them. */
function isOurs({ metadata }: Attachment): boolean {
  return OURS.test(metadata.name);
}

/** The name that node status has for a CSI volume. */
function uniqueVolumeName(driver: string, handle: string): string {
  return `kubernetes.io/csi/${driver}^${handle}`;
}

/** What one node needs attached, and no longer needs. `handles` gives the volume of an attachment that is there. */
export function planNode(
  nodeName: string,
  { node, wanted, attachments, unneededMs }: Observed,
  volumeOf: (attachment: Attachment) => AttachableVolume | undefined,
): Plan {
  const here = attachments.filter(({ spec }) => spec.nodeName === nodeName);
  const held = new Map(here.map((attachment) => [attachment.spec.source.persistentVolumeName, attachment]));
  const attach: AttachableVolume[] = [];
  const blocked: { volume: AttachableVolume; by: string }[] = [];
  for (const volume of node ? wanted.values() : []) {
    if (held.has(volume.name)) continue;
    const other = attachments.find(
      ({ spec }) => spec.source.persistentVolumeName === volume.name && spec.nodeName !== nodeName,
    );
    if (volume.exclusive && other) blocked.push({ volume, by: other.spec.nodeName });
    else attach.push(volume);
  }
  const detach: Attachment[] = [];
  let waiting = false;
  for (const attachment of here) {
    const name = attachment.spec.source.persistentVolumeName;
    if (
      attachment.metadata.deletionTimestamp ||
      !isOurs(attachment) ||
      (node && name !== undefined && wanted.has(name))
    )
      continue;
    if (mayDetach(node, volumeOf(attachment), unneededMs(attachment))) detach.push(attachment);
    else waiting = true;
  }
  const attached = here.flatMap((attachment) => {
    const volume = attachment.status?.attached ? volumeOf(attachment) : undefined;
    return volume ? [{ name: uniqueVolumeName(volume.driver, volume.handle), devicePath: "" }] : [];
  });
  return { attach, detach, blocked, waiting, attached };
}

function mayDetach(node: k8s.Node | undefined, volume: AttachableVolume | undefined, unneededMs: number): boolean {
  if (!node || !volume) return true;
  if (node.spec?.taints?.some(({ key }) => key === "node.kubernetes.io/out-of-service")) return true;
  if (!node.status?.volumesInUse?.includes(uniqueVolumeName(volume.driver, volume.handle))) return true;
  const isReady = node.status.conditions?.some(({ type, status }) => type === "Ready" && status === "True");
  return !isReady && unneededMs >= MAX_UNMOUNT_WAIT_MS;
}
