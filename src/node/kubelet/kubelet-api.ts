import type { k8s } from "../../api/index.ts";
import type { ConnectionServer, LoopDevice } from "../../host/index.ts";
import type { ResourceClaim } from "./dra/types.ts";

/**
 * What the kubelet needs of the API server, as small as it can be: one adapter (`api-client.ts`) makes it from a client and informers, and
 * tests make it from a map.
 */
export interface KubeletApi {
  /** This node's Pods as the watch last told. Frozen. */
  pods(): readonly k8s.Pod[];
  /** Called for each change of one of this node's Pods, after `pods()` shows it. */
  onPodChange(listener: (uid: string) => void): void;
  /** Objects that Pods refer to change (ConfigMaps, Secrets): volumes are refreshed then. */
  onSourceChange(listener: (kind: "ConfigMap" | "Secret", namespace: string, name: string) => void): void;
  /** The Services of that namespace, and `default/kubernetes`. */
  services(namespace: string): readonly k8s.Service[];
  configMap(namespace: string, name: string): Promise<k8s.ConfigMap | undefined>;
  secret(namespace: string, name: string): Promise<k8s.Secret | undefined>;
  persistentVolumeClaim(namespace: string, name: string): Promise<k8s.PersistentVolumeClaim | undefined>;
  persistentVolume(name: string): Promise<k8s.PersistentVolume | undefined>;
  /** Only what the kubelet knows of a claim: its size, and that growing it is done. */
  writeClaimStatus(
    claim: k8s.PersistentVolumeClaim,
    status: Pick<k8s.PersistentVolumeClaimStatus, "capacity" | "conditions">,
  ): Promise<void>;
  csiDriver(name: string): Promise<k8s.CSIDriver | undefined>;
  volumeAttachment(name: string): Promise<k8s.VolumeAttachment | undefined>;
  resourceClaim(namespace: string, name: string): Promise<ResourceClaim | undefined>;
  /** What a driver that is gone offered on this node. */
  removeResourceSlices(driver: string): Promise<void>;
  /** This node's own. */
  csiNode(): Promise<k8s.CSINode | undefined>;
  writeCsiNode(drivers: readonly k8s.CSINodeDriver[]): Promise<void>;
  runtimeClass(name: string): Promise<k8s.RuntimeClass | undefined>;
  /** A token for the Pod's service account, bound to the Pod. */
  createToken(
    namespace: string,
    serviceAccount: string,
    spec: k8s.TokenRequestSpec,
  ): Promise<{ token: string; expirationMs: number }>;

  /** Throws conflict or notFound. Returns what is stored now. */
  writePodStatus(pod: k8s.Pod, status: k8s.PodStatus): Promise<k8s.Pod>;
  /** Only for the mirror of a static Pod. Throws alreadyExists. */
  createPod(pod: k8s.Pod): Promise<void>;
  /** Grace 0, with the uid as precondition: the Pod is gone from the node. */
  removePod(pod: k8s.Pod): Promise<void>;
  event(about: k8s.ObjectReference, type: "Normal" | "Warning", reason: string, message: string): void;

  node(): k8s.Node | undefined;
  createNode(node: k8s.Node): Promise<void>;
  patchNode(patch: { metadata?: Record<string, unknown>; spec?: Record<string, unknown> }): Promise<void>;
  writeNodeStatus(status: k8s.NodeStatus): Promise<void>;
  renewLease(name: string, durationSeconds: number, renewTime: string): Promise<void>;
}

/** What only the host can do for the kubelet: mounts and figures of the machine. */
export interface KubeletHost {
  mountTmpfs(target: string, options: { sizeBytes?: number; mode?: number }): Promise<void>;
  /** Bind-mounts `root/subPath` on `target`, with no symlink on the way able to leave `root`. Throws notFound, or permissionDenied for an escape. */
  bindBeneath(root: string, subPath: string, target: string): Promise<void>;
  /** Idempotent; lazily detaches what is busy. */
  unmount(target: string): Promise<void>;
  /** Paths of mounts below a folder, deepest first. */
  mountsBelow(folder: string): Promise<string[]>;
  /** Makes a file a block device, or gives it the size that the file has now. Returns the device. */
  attachLoop(file: string): string;
  detachLoop(device: string): void;
  /** Files that are block devices now, anybody's. */
  loopDevices(): readonly LoopDevice[];
  /** Listens on a socket of this machine; the server is loaded with the first connection. */
  listen(socket: string, load: () => Promise<ConnectionServer>): Promise<{ close(): Promise<void> }>;
  machine(): Promise<MachineFacts>;
  /** Free and total bytes and inodes of the file system below a path. */
  diskSpace(
    path: string,
  ): Promise<{ totalBytes: number; availableBytes: number; totalInodes: number; freeInodes: number }>;
  memory(): Promise<{ totalBytes: number; availableBytes: number }>;
  /** Processes and threads of the whole machine, and how many there may be. */
  processes(): Promise<{ running: number; max: number }>;
}

export interface MachineFacts {
  readonly hostname: string;
  readonly machineId: string;
  readonly systemUuid: string;
  readonly bootId: string;
  readonly kernelVersion: string;
  readonly osImage: string;
  readonly architecture: string;
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly hostIps: readonly string[];
}
