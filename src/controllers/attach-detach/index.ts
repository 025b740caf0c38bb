import type { k8s } from "../../api/index.ts";
import { hasCode } from "../../base/index.ts";
import { resources, type Stored } from "../../client/index.ts";
import { isPodTerminal, sameJson, type Pod } from "../common/index.ts";
import type { Controller, ControllerContext } from "../controller.ts";
import { attachmentName, planNode, type AttachableVolume, type Plan } from "./plan.ts";

type Attachment = Stored<k8s.VolumeAttachment>;

const RETRY_MS = 1_000;

/**
 * Asks CSI drivers to attach volumes to the nodes whose Pods need them, by VolumeAttachments, and to detach them.
 * https://kubernetes.io/docs/concepts/storage/volumes/#csi
 */
export const attachDetachController: Controller = {
  name: "persistentvolume-attach-detach-controller",
  serviceAccount: "attachdetach-controller",
  component: "attachdetach-controller",
  setup(context) {
    const nodes = context.informer(resources.nodes);
    const pods = context.informer(resources.pods);
    const claims = context.informer(resources.persistentVolumeClaims);
    const volumes = context.informer(resources.persistentVolumes);
    const drivers = context.informer(resources.csiDrivers);
    const attachments = context.informer(resources.volumeAttachments);
    pods.addIndex("node", (pod) => (pod.spec?.nodeName ? [pod.spec.nodeName] : []));
    /** When a node was first seen not to need what is attached to it. */
    const unneededSince = new Map<string, number>();

    const ofPod = (pod: Pod) => {
      if (pod.spec?.nodeName && pod.spec.volumes?.some((volume) => claimName(pod, volume)))
        context.enqueue(pod.spec.nodeName);
    };
    pods.onChange({ added: ofPod, updated: ofPod, deleted: ofPod });
    const nodesOfClaims = () => {
      for (const pod of pods.values()) ofPod(pod);
    };
    claims.onChange({ updated: (claim, old) => claim.spec?.volumeName !== old.spec?.volumeName && nodesOfClaims() });
    volumes.onChange({ added: (volume) => volume.spec?.csi && nodesOfClaims() });
    const ofAttachment = ({ spec }: Attachment) => context.enqueue(spec.nodeName);
    attachments.onChange({
      added: ofAttachment,
      updated: ofAttachment,
      deleted: (attachment) => {
        unneededSince.delete(attachment.metadata.name);
        nodesOfClaims();
        ofAttachment(attachment);
      },
    });
    const hasAttachments = (name: string) => attachments.list().some(({ spec }) => spec.nodeName === name);
    nodes.onChange({
      updated: (node, old) => {
        const changed =
          !sameJson(node.status?.volumesInUse, old.status?.volumesInUse) || node.spec?.taints !== old.spec?.taints;
        if (changed && hasAttachments(node.metadata.name)) context.enqueue(node.metadata.name);
      },
      deleted: ({ metadata }) => hasAttachments(metadata.name) && context.enqueue(metadata.name),
    });

    const attachable = (volume: Stored<k8s.PersistentVolume> | undefined): AttachableVolume | undefined => {
      const csi = volume?.spec?.csi;
      if (!csi || drivers.get(csi.driver)?.spec.attachRequired === false) return undefined;
      const exclusive = (volume.spec?.accessModes ?? []).every((mode) => mode.startsWith("ReadWriteOnce"));
      return { name: volume.metadata.name, driver: csi.driver, handle: csi.volumeHandle, exclusive };
    };
    const volumesOf = (pod: Pod): AttachableVolume[] =>
      (pod.spec?.volumes ?? []).flatMap((source) => {
        const name = claimName(pod, source);
        const claim = name === undefined ? undefined : claims.get(`${pod.metadata.namespace}/${name}`);
        const volume = claim?.spec?.volumeName ? attachable(volumes.get(claim.spec.volumeName)) : undefined;
        return volume ? [volume] : [];
      });

    return {
      async reconcile(nodeName, signal) {
        const users = pods.byIndex("node", nodeName).filter((pod) => !isPodTerminal(pod));
        const wanted = new Map(users.flatMap(volumesOf).map((volume) => [volume.name, volume]));
        const node = nodes.get(nodeName);
        const nowMs = context.clock.monotonicMs();
        const unneededMs = ({ metadata, spec }: Attachment) => {
          if (wanted.has(spec.source.persistentVolumeName ?? "")) unneededSince.delete(metadata.name);
          else if (!unneededSince.has(metadata.name)) unneededSince.set(metadata.name, nowMs);
          return nowMs - (unneededSince.get(metadata.name) ?? nowMs);
        };
        const plan = planNode(nodeName, { node, wanted, attachments: attachments.list(), unneededMs }, ({ spec }) =>
          attachable(volumes.get(spec.source.persistentVolumeName ?? "")),
        );
        for (const { volume, by } of plan.blocked)
          for (const pod of users.filter((user) => volumesOf(user).some(({ name }) => name === volume.name)))
            context.events.event(pod, "Warning", "FailedAttachVolume", multiAttach(volume.name, by));
        await carryOut(context, nodeName, plan, signal);
        if (node) await writeAttached(context, node, plan, signal);
        return plan.waiting || plan.blocked.length > 0 ? { requeueAfterMs: RETRY_MS } : undefined;
      },
    };
  },
};

/** Of a claim, or of a generic ephemeral volume. */
function claimName(pod: Pod, volume: k8s.Volume): string | undefined {
  return volume.persistentVolumeClaim?.claimName ?? (volume.ephemeral && `${pod.metadata.name}-${volume.name}`);
}

function multiAttach(volume: string, by: string): string {
  return `Multi-Attach error for volume "${volume}" Volume is already exclusively attached to one node and can't be attached to another (it is attached to ${by})`;
}

async function carryOut(context: ControllerContext, nodeName: string, plan: Plan, signal: AbortSignal): Promise<void> {
  const client = context.client.of(resources.volumeAttachments);
  for (const { metadata } of plan.detach) {
    try {
      await client.delete({ name: metadata.name }, { preconditions: { uid: metadata.uid }, signal });
    } catch (error) {
      if (!hasCode(error, "notFound")) throw error;
    }
  }
  for (const volume of plan.attach) {
    const spec = { attacher: volume.driver, nodeName, source: { persistentVolumeName: volume.name } };
    try {
      await client.create({ metadata: { name: attachmentName(volume, nodeName) }, spec }, { signal });
    } catch (error) {
      if (!hasCode(error, "alreadyExists")) throw error;
    }
  }
}

async function writeAttached(
  context: ControllerContext,
  node: Stored<k8s.Node>,
  { attached }: Plan,
  signal: AbortSignal,
): Promise<void> {
  if (sameJson(node.status?.volumesAttached ?? [], attached)) return;
  const patch = { status: { volumesAttached: attached.length > 0 ? attached : null } };
  await context.client.of(resources.nodes).patch(node.metadata, patch, { subresource: "status", signal });
}
