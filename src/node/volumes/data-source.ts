import { failedPrecondition, hasCode, messageOf, parseQuantity } from "../../base/index.ts";
import {
  resources,
  type KubeClient,
  type Resource,
  type Stored,
  type ObjectRef,
  type AnyObject,
} from "../../client/index.ts";
import type { k8s } from "../../api/index.ts";
import type { Contents, Shape } from "./contents.ts";
import { ownPath } from "./own-volume.ts";
import { isHandle, SNAPSHOT_GROUP, volumeSnapshotContents, volumeSnapshots } from "./snapshots/types.ts";
import { LOCAL_PROVISIONER } from "./storage-class.ts";

type Claim = Stored<k8s.PersistentVolumeClaim>;

/** A path; or "others" fill it. */
export type DataSource = { readonly path: string } | "others";

export interface DataSourceParts {
  readonly client: KubeClient;
  readonly volumes: Contents;
  readonly snapshots: Contents;
}

/**
 * Where the content of a new volume is copied from: undefined for an empty one, "others" when another program fills it. Throws failedPrecondition, in the
 * words of CSI's provisioner, when the source can't be used (yet).
 */
export async function dataSourceOf(
  parts: DataSourceParts,
  claim: Claim,
  wanted: Shape,
): Promise<DataSource | undefined> {
  const source = claim.spec?.dataSourceRef ?? claim.spec?.dataSource;
  if (!source) return undefined;
  const { name, kind } = source;
  const { namespace } = claim.metadata;
  if (claim.spec?.dataSourceRef?.namespace && claim.spec.dataSourceRef.namespace !== namespace) return "others";
  try {
    if (kind === "PersistentVolumeClaim" && !source.apiGroup)
      return { path: await cloned(parts, { name, namespace }, wanted) };
    if (kind === "VolumeSnapshot" && source.apiGroup === SNAPSHOT_GROUP)
      return { path: await restored(parts, { name, namespace }, wanted) };
  } catch (error) {
    if (!hasCode(error, "failedPrecondition")) throw error;
    throw failedPrecondition(`error getting handle for DataSource Type ${kind} by Name ${name}: ${messageOf(error)}`, {
      cause: error,
    });
  }
  return "others";
}

async function cloned({ client, volumes }: DataSourceParts, ref: ObjectRef, wanted: Shape): Promise<string> {
  const from = await fromApi(
    client,
    resources.persistentVolumeClaims,
    ref,
    `PVC ${ref.name} (namespace ${ref.namespace})`,
  );
  if (from.metadata.deletionTimestamp)
    throw failedPrecondition(`the PVC DataSource ${ref.name} is currently being deleted`);
  const volumeName = from.spec?.volumeName;
  if (from.status?.phase !== "Bound" || !volumeName)
    throw failedPrecondition(`the PVC ${ref.name} is not bound; it must be to be cloned`);
  const volume = await fromApi(client, resources.persistentVolumes, { name: volumeName }, `PV ${volumeName}`);
  const path = ownPath(volume, volumes);
  if (path === undefined) throw failedPrecondition(`the source volume ${volumeName} is none of ${LOCAL_PROVISIONER}`);
  checkMode(volume.spec?.volumeMode, wanted);
  const sizeBytes = parseQuantity(volume.spec?.capacity?.["storage"] ?? "0");
  if (wanted.sizeBytes < sizeBytes)
    throw failedPrecondition(
      `error, new PVC request must be greater than or equal in size to the specified PVC data source, requested ${wanted.sizeBytes} but source is ${sizeBytes}`,
    );
  return path;
}

async function restored({ client, snapshots }: DataSourceParts, ref: ObjectRef, wanted: Shape): Promise<string> {
  const { name } = ref;
  const snapshot = await fromApi(client, volumeSnapshots, ref, `snapshot ${name}`);
  const { status, metadata } = snapshot;
  if (metadata.deletionTimestamp) throw failedPrecondition(`snapshot ${name} is currently being deleted`);
  if (!status?.readyToUse) throw failedPrecondition(`snapshot ${name} is not Ready`);
  const contentName = status.boundVolumeSnapshotContentName ?? "";
  if (contentName === "") throw failedPrecondition(`snapshot ${name} not bound`);
  const content = await fromApi(
    client,
    volumeSnapshotContents,
    { name: contentName },
    `snapshotContent ${contentName}`,
  );
  if (content.spec.driver !== LOCAL_PROVISIONER)
    throw failedPrecondition(
      `driver name in snapshot content ${contentName} is ${content.spec.driver}, which is not ${LOCAL_PROVISIONER}`,
    );
  checkMode(content.spec.sourceVolumeMode, wanted);
  const sizeBytes = content.status?.restoreSize ?? 0;
  if (wanted.sizeBytes < sizeBytes)
    throw failedPrecondition(
      `requested volume size ${wanted.sizeBytes} is less than the size ${sizeBytes} for the source snapshot ${name}`,
    );
  const handle = content.status?.snapshotHandle ?? contentName;
  if (!isHandle(handle)) throw failedPrecondition(`snapshot handle ${handle} is none of this driver's`);
  return snapshots.path(handle);
}

function checkMode(mode: string | undefined, { block }: Shape): void {
  if ((mode === "Block") !== block)
    throw failedPrecondition(`the volume mode of the source is ${mode ?? "Filesystem"}, and can't be changed`);
}

async function fromApi<T extends AnyObject>(
  client: KubeClient,
  resource: Resource<T>,
  ref: ObjectRef,
  what: string,
): Promise<Stored<T>> {
  try {
    return await client.of(resource).get(ref);
  } catch (error) {
    if (!hasCode(error, "notFound")) throw error;
    throw failedPrecondition(`error getting ${what} from api server: ${messageOf(error)}`, { cause: error });
  }
}
