import type { Duplex, Readable, Writable } from "node:stream";

/**
 * The container runtime as a kubelet sees it: Kubernetes' CRI v1 (k8s.io/cri-api/pkg/apis/runtime/v1/api.proto) in camelCase. Where CRI
 * answers exec, attach and port-forward with the URL of a streaming server, this interface hands over the streams themselves; the
 * gRPC socket makes URLs of them.
 *
 * Lifecycle: runPodSandbox → (createContainer → startContainer → stopContainer → removeContainer)* → stopPodSandbox → removePodSandbox.
 * Stop and remove are idempotent, and succeed for what does not exist. Timestamps are nanoseconds since the epoch, as numbers
 * (good to a quarter of a microsecond).
 */
export interface RuntimeService {
  version(): Promise<VersionResponse>;
  status(): Promise<{ conditions: RuntimeCondition[] }>;
  /** Creates and starts the sandbox: namespaces, network, cgroup parent. Returns its id. */
  runPodSandbox(config: PodSandboxConfig, runtimeHandler: string, signal?: AbortSignal): Promise<string>;
  /** Kills what runs in it and gives its network back. */
  stopPodSandbox(podSandboxId: string): Promise<void>;
  removePodSandbox(podSandboxId: string): Promise<void>;
  /** Throws notFound. */
  podSandboxStatus(podSandboxId: string): Promise<PodSandboxStatus>;
  listPodSandbox(filter?: PodSandboxFilter): Promise<PodSandbox[]>;

  createContainer(
    podSandboxId: string,
    config: ContainerConfig,
    sandboxConfig: PodSandboxConfig,
    signal?: AbortSignal,
  ): Promise<string>;
  startContainer(containerId: string): Promise<void>;
  /** SIGTERM (or the image's or config's stop signal), then SIGKILL after the timeout. 0 kills at once. */
  stopContainer(containerId: string, timeoutSeconds: number): Promise<void>;
  removeContainer(containerId: string): Promise<void>;
  listContainers(filter?: ContainerFilter): Promise<Container[]>;
  /** Throws notFound. */
  containerStatus(containerId: string): Promise<ContainerStatus>;
  updateContainerResources(containerId: string, resources: LinuxContainerResources): Promise<void>;
  /** The limits of the Pod's own control group; a figure of 0 is left as it is. */
  updatePodSandboxResources(podSandboxId: string, resources: LinuxContainerResources): Promise<void>;
  reopenContainerLog(containerId: string): Promise<void>;

  /** Throws deadlineExceeded when the command outlives the timeout (it is then killed); 0 waits for ever. */
  execSync(containerId: string, command: string[], timeoutSeconds: number): Promise<ExecSyncResult>;
  exec(containerId: string, request: ExecRequest): Promise<ExecSession>;
  attach(containerId: string, request: AttachRequest): Promise<ExecSession>;
  /** A connection to a port on the sandbox's loopback. */
  portForward(podSandboxId: string, port: number): Promise<Duplex>;

  containerStats(containerId: string): Promise<ContainerStats>;
  listContainerStats(filter?: ContainerFilter): Promise<ContainerStats[]>;
  podSandboxStats(podSandboxId: string): Promise<PodSandboxStats>;
  listPodSandboxStats(filter?: PodSandboxFilter): Promise<PodSandboxStats[]>;

  updateRuntimeConfig(config: { podCidr: string }): Promise<void>;
  /** Created, started, stopped and deleted, as they happen. Consumers still relist: events may be lost across a restart. */
  containerEvents(signal: AbortSignal): AsyncIterable<ContainerEvent>;
}

export interface VersionResponse {
  runtimeName: string;
  runtimeVersion: string;
  runtimeApiVersion: string;
}

export interface RuntimeCondition {
  type: "RuntimeReady" | "NetworkReady";
  status: boolean;
  reason: string;
  message: string;
}

export type NamespaceMode = "POD" | "CONTAINER" | "NODE" | "TARGET";

export interface NamespaceOptions {
  network: NamespaceMode;
  pid: NamespaceMode;
  ipc: NamespaceMode;
  /** For pid TARGET (ephemeral containers): whose namespace to join. */
  targetId?: string;
  userns?: { mode: NamespaceMode; uids: IdMapping[]; gids: IdMapping[] };
}

export interface IdMapping {
  hostId: number;
  containerId: number;
  length: number;
}

export interface PodSandboxMetadata {
  name: string;
  uid: string;
  namespace: string;
  attempt: number;
}

export interface DnsConfig {
  servers: string[];
  searches: string[];
  options: string[];
}

export interface PortMapping {
  protocol: "TCP" | "UDP" | "SCTP";
  containerPort: number;
  hostPort: number;
  hostIp: string;
}

export interface SecurityProfile {
  type: "RuntimeDefault" | "Unconfined" | "Localhost";
  /** For Localhost: an absolute path (seccomp) or a profile's name (AppArmor). */
  localhostRef?: string;
}

export interface PodSandboxConfig {
  metadata: PodSandboxMetadata;
  hostname: string;
  /** Container logs stand below it: `logDirectory/logPath`. */
  logDirectory: string;
  dnsConfig?: DnsConfig;
  portMappings: PortMapping[];
  labels: Record<string, string>;
  annotations: Record<string, string>;
  linux: LinuxPodSandboxConfig;
}

export interface LinuxPodSandboxConfig {
  /** For example `/kubepods/burstable/pod<uid>`. */
  cgroupParent: string;
  securityContext: {
    namespaceOptions: NamespaceOptions;
    seLinuxOptions?: unknown;
    runAsUser?: number;
    runAsGroup?: number;
    readonlyRootfs?: boolean;
    supplementalGroups: number[];
    privileged?: boolean;
    seccomp?: SecurityProfile;
    apparmor?: SecurityProfile;
  };
  sysctls: Record<string, string>;
  overhead?: LinuxContainerResources;
  resources?: LinuxContainerResources;
}

export type PodSandboxState = "SANDBOX_READY" | "SANDBOX_NOTREADY";

export interface PodSandboxFilter {
  id?: string;
  state?: PodSandboxState;
  labelSelector?: Record<string, string>;
}

export interface PodSandbox {
  id: string;
  metadata: PodSandboxMetadata;
  state: PodSandboxState;
  createdAt: number;
  labels: Record<string, string>;
  annotations: Record<string, string>;
  runtimeHandler: string;
}

export interface PodSandboxStatus extends PodSandbox {
  network: { ip: string; additionalIps: string[] };
  linux: { namespaces: NamespaceOptions };
}

export interface ImageSpec {
  image: string;
  /** What the user wrote, where `image` is a resolved id. */
  userSpecifiedImage?: string;
  annotations?: Record<string, string>;
  runtimeHandler?: string;
}

export interface Mount {
  containerPath: string;
  hostPath: string;
  readonly: boolean;
  recursiveReadOnly?: boolean;
  selinuxRelabel?: boolean;
  propagation: "PRIVATE" | "HOST_TO_CONTAINER" | "BIDIRECTIONAL";
  uidMappings?: IdMapping[];
  gidMappings?: IdMapping[];
  /** An image volume: the image whose root (or `imageSubPath` in it) is mounted read-only instead of `hostPath`. */
  image?: ImageSpec;
  imageSubPath?: string;
}

export interface Device {
  containerPath: string;
  hostPath: string;
  permissions: string;
}

export interface ContainerConfig {
  metadata: { name: string; attempt: number };
  image: ImageSpec;
  /** Replaces the image's ENTRYPOINT when not empty. */
  command: string[];
  /** Replaces the image's CMD when not empty; with `command` set and this empty, CMD is dropped. */
  args: string[];
  workingDir: string;
  envs: Array<{ key: string; value: string }>;
  mounts: Mount[];
  devices: Device[];
  /** Devices by their names in CDI specs, `vendor.com/class=name`. */
  cdiDevices?: Array<{ name: string }>;
  labels: Record<string, string>;
  annotations: Record<string, string>;
  /** Relative to the sandbox's log directory. */
  logPath: string;
  stdin: boolean;
  stdinOnce: boolean;
  tty: boolean;
  stopSignal?: string;
  linux: { resources: LinuxContainerResources; securityContext: LinuxContainerSecurityContext };
}

export interface LinuxContainerResources {
  cpuPeriod?: number;
  cpuQuota?: number;
  cpuShares?: number;
  memoryLimitInBytes?: number;
  memorySwapLimitInBytes?: number;
  oomScoreAdj?: number;
  cpusetCpus?: string;
  cpusetMems?: string;
  hugepageLimits?: Array<{ pageSize: string; limit: number }>;
  unified?: Record<string, string>;
  pidsLimit?: number;
}

export interface LinuxContainerSecurityContext {
  capabilities?: { addCapabilities: string[]; dropCapabilities: string[]; addAmbientCapabilities?: string[] };
  privileged: boolean;
  namespaceOptions: NamespaceOptions;
  runAsUser?: number;
  runAsGroup?: number;
  runAsUsername?: string;
  readonlyRootfs: boolean;
  supplementalGroups: number[];
  supplementalGroupsPolicy?: "Merge" | "Strict";
  noNewPrivs: boolean;
  maskedPaths: string[];
  readonlyPaths: string[];
  seccomp?: SecurityProfile;
  apparmor?: SecurityProfile;
}

export type ContainerState = "CONTAINER_CREATED" | "CONTAINER_RUNNING" | "CONTAINER_EXITED" | "CONTAINER_UNKNOWN";

export interface ContainerFilter {
  id?: string;
  state?: ContainerState;
  podSandboxId?: string;
  labelSelector?: Record<string, string>;
}

export interface Container {
  id: string;
  podSandboxId: string;
  metadata: { name: string; attempt: number };
  image: ImageSpec;
  imageRef: string;
  imageId: string;
  state: ContainerState;
  createdAt: number;
  labels: Record<string, string>;
  annotations: Record<string, string>;
}

export interface ContainerStatus extends Container {
  startedAt: number;
  finishedAt: number;
  exitCode: number;
  /** `Completed`, `Error`, `OOMKilled` or the runtime's own. */
  reason: string;
  message: string;
  mounts: Mount[];
  logPath: string;
  resources?: LinuxContainerResources;
  user?: { uid: number; gid: number; supplementalGroups: number[] };
  stopSignal?: string;
  /** The main process as the host numbers it; 0 when it does not run. */
  pid: number;
}

export interface ExecSyncResult {
  stdout: Uint8Array;
  stderr: Uint8Array;
  exitCode: number;
}

export interface ExecRequest {
  command: string[];
  tty: boolean;
  stdin: boolean;
  stdout: boolean;
  stderr: boolean;
}
export type AttachRequest = Omit<ExecRequest, "command">;

export interface ExecSession {
  readonly stdin: Writable | undefined;
  readonly stdout: Readable | undefined;
  /** Undefined with a TTY: everything comes on stdout. */
  readonly stderr: Readable | undefined;
  resize(columns: number, rows: number): Promise<void>;
  /** Resolves with the exit code when the process has ended; for attach, when the container has. */
  readonly exit: Promise<number>;
  /** Lets go of the streams. An exec's process is killed, an attached container's is not. */
  close(): void;
}

export interface CpuUsage {
  timestamp: number;
  usageCoreNanoSeconds: number;
  usageNanoCores: number;
}
export interface MemoryUsage {
  timestamp: number;
  workingSetBytes: number;
  availableBytes: number;
  usageBytes: number;
  rssBytes: number;
  pageFaults: number;
  majorPageFaults: number;
}
export interface FilesystemUsage {
  timestamp: number;
  mountpoint: string;
  usedBytes: number;
  inodesUsed: number;
}
export interface ContainerStats {
  attributes: {
    id: string;
    metadata: { name: string; attempt: number };
    labels: Record<string, string>;
    annotations: Record<string, string>;
  };
  cpu: CpuUsage;
  memory: MemoryUsage;
  writableLayer: FilesystemUsage;
}
export interface NetworkInterfaceUsage {
  name: string;
  rxBytes: number;
  rxErrors: number;
  txBytes: number;
  txErrors: number;
}
export interface PodSandboxStats {
  attributes: {
    id: string;
    metadata: PodSandboxMetadata;
    labels: Record<string, string>;
    annotations: Record<string, string>;
  };
  cpu: CpuUsage;
  memory: MemoryUsage;
  network: { timestamp: number; defaultInterface: NetworkInterfaceUsage; interfaces: NetworkInterfaceUsage[] };
  process: { timestamp: number; processCount: number };
  containers: ContainerStats[];
}

export interface ContainerEvent {
  containerId: string;
  type: "CONTAINER_CREATED_EVENT" | "CONTAINER_STARTED_EVENT" | "CONTAINER_STOPPED_EVENT" | "CONTAINER_DELETED_EVENT";
  createdAt: number;
  podSandboxId: string;
}
