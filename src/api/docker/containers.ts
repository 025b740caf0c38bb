/**
 * Docker Engine API v1.50, the containers and exec groups (../../docs: engine-api-v1.50.yaml). Wire names as published; what clients may leave out is
 * optional, and `null` stands where Go clients send nil slices and maps.
 */
import type { HealthConfig } from "../oci/image.ts";

type Maybe<T> = T | null;
type EmptyObject = Record<string, never>;

export interface DockerContainerConfig {
  Hostname?: string;
  Domainname?: string;
  User?: string;
  AttachStdin?: boolean;
  AttachStdout?: boolean;
  AttachStderr?: boolean;
  ExposedPorts?: Maybe<Record<string, EmptyObject>>;
  Tty?: boolean;
  OpenStdin?: boolean;
  StdinOnce?: boolean;
  Env?: Maybe<string[]>;
  Cmd?: Maybe<string[] | string>;
  Healthcheck?: Maybe<HealthConfig>;
  ArgsEscaped?: boolean;
  Image?: string;
  Volumes?: Maybe<Record<string, EmptyObject>>;
  WorkingDir?: string;
  Entrypoint?: Maybe<string[] | string>;
  NetworkDisabled?: boolean;
  MacAddress?: string;
  OnBuild?: Maybe<string[]>;
  Labels?: Maybe<Record<string, string>>;
  StopSignal?: string;
  StopTimeout?: Maybe<number>;
  Shell?: Maybe<string[]>;
}

export interface DockerPortBinding {
  HostIp?: string;
  HostPort?: string;
}

export interface DockerRestartPolicy {
  /** "" and "no": never; "always", "unless-stopped", "on-failure". */
  Name?: string;
  MaximumRetryCount?: number;
}

export interface DockerMount {
  Type?: string;
  Source?: string;
  Target?: string;
  ReadOnly?: boolean;
  Consistency?: string;
  BindOptions?: Maybe<{
    Propagation?: string;
    NonRecursive?: boolean;
    CreateMountpoint?: boolean;
    ReadOnlyNonRecursive?: boolean;
    ReadOnlyForceRecursive?: boolean;
  }>;
  VolumeOptions?: Maybe<{
    NoCopy?: boolean;
    Labels?: Maybe<Record<string, string>>;
    DriverConfig?: Maybe<{ Name?: string; Options?: Maybe<Record<string, string>> }>;
    Subpath?: string;
  }>;
  TmpfsOptions?: Maybe<{ SizeBytes?: number; Mode?: number; Options?: Maybe<string[][]> }>;
  ImageOptions?: Maybe<{ Subpath?: string }>;
}

export interface DockerDeviceMapping {
  PathOnHost?: string;
  PathInContainer?: string;
  CgroupPermissions?: string;
}

export interface DockerResources {
  CpuShares?: number;
  Memory?: number;
  CgroupParent?: string;
  BlkioWeight?: number;
  BlkioWeightDevice?: Maybe<Array<{ Path: string; Weight: number }>>;
  BlkioDeviceReadBps?: Maybe<Array<{ Path: string; Rate: number }>>;
  BlkioDeviceWriteBps?: Maybe<Array<{ Path: string; Rate: number }>>;
  BlkioDeviceReadIOps?: Maybe<Array<{ Path: string; Rate: number }>>;
  BlkioDeviceWriteIOps?: Maybe<Array<{ Path: string; Rate: number }>>;
  CpuPeriod?: number;
  CpuQuota?: number;
  CpuRealtimePeriod?: number;
  CpuRealtimeRuntime?: number;
  CpusetCpus?: string;
  CpusetMems?: string;
  Devices?: Maybe<DockerDeviceMapping[]>;
  DeviceCgroupRules?: Maybe<string[]>;
  DeviceRequests?: Maybe<
    Array<{
      Driver?: string;
      Count?: number;
      DeviceIDs?: Maybe<string[]>;
      Capabilities?: Maybe<string[][]>;
      Options?: Maybe<Record<string, string>>;
    }>
  >;
  KernelMemory?: number;
  KernelMemoryTCP?: number;
  MemoryReservation?: number;
  MemorySwap?: number;
  MemorySwappiness?: Maybe<number>;
  NanoCpus?: number;
  OomKillDisable?: Maybe<boolean>;
  Init?: Maybe<boolean>;
  PidsLimit?: Maybe<number>;
  Ulimits?: Maybe<Array<{ Name: string; Soft: number; Hard: number }>>;
  CpuCount?: number;
  CpuPercent?: number;
  IOMaximumIOps?: number;
  IOMaximumBandwidth?: number;
}

export interface DockerHostConfig extends DockerResources {
  Binds?: Maybe<string[]>;
  ContainerIDFile?: string;
  LogConfig?: Maybe<{ Type?: string; Config?: Maybe<Record<string, string>> }>;
  NetworkMode?: string;
  PortBindings?: Maybe<Record<string, Maybe<DockerPortBinding[]>>>;
  RestartPolicy?: Maybe<DockerRestartPolicy>;
  AutoRemove?: boolean;
  VolumeDriver?: string;
  VolumesFrom?: Maybe<string[]>;
  Mounts?: Maybe<DockerMount[]>;
  ConsoleSize?: Maybe<number[]>;
  Annotations?: Maybe<Record<string, string>>;
  CapAdd?: Maybe<string[]>;
  CapDrop?: Maybe<string[]>;
  CgroupnsMode?: string;
  Dns?: Maybe<string[]>;
  DnsOptions?: Maybe<string[]>;
  DnsSearch?: Maybe<string[]>;
  ExtraHosts?: Maybe<string[]>;
  GroupAdd?: Maybe<string[]>;
  IpcMode?: string;
  Cgroup?: string;
  Links?: Maybe<string[]>;
  OomScoreAdj?: number;
  PidMode?: string;
  Privileged?: boolean;
  PublishAllPorts?: boolean;
  ReadonlyRootfs?: boolean;
  SecurityOpt?: Maybe<string[]>;
  StorageOpt?: Maybe<Record<string, string>>;
  Tmpfs?: Maybe<Record<string, string>>;
  UTSMode?: string;
  UsernsMode?: string;
  ShmSize?: number;
  Sysctls?: Maybe<Record<string, string>>;
  Runtime?: string;
  Isolation?: string;
  MaskedPaths?: Maybe<string[]>;
  ReadonlyPaths?: Maybe<string[]>;
}

export interface DockerEndpointSettings {
  IPAMConfig?: Maybe<{ IPv4Address?: string; IPv6Address?: string; LinkLocalIPs?: Maybe<string[]> }>;
  Links?: Maybe<string[]>;
  MacAddress?: string;
  Aliases?: Maybe<string[]>;
  DriverOpts?: Maybe<Record<string, string>>;
  GwPriority?: number;
  NetworkID?: string;
}

export interface DockerCreateBody extends DockerContainerConfig {
  HostConfig?: Maybe<DockerHostConfig>;
  NetworkingConfig?: Maybe<{ EndpointsConfig?: Maybe<Record<string, Maybe<DockerEndpointSettings>>> }>;
}

export interface DockerMountPoint {
  Type: "bind" | "volume" | "tmpfs" | "image";
  Name?: string;
  Source: string;
  Destination: string;
  Driver?: string;
  Mode: string;
  RW: boolean;
  Propagation: string;
}

export interface DockerExecConfig {
  AttachStdin?: boolean;
  AttachStdout?: boolean;
  AttachStderr?: boolean;
  ConsoleSize?: Maybe<number[]>;
  DetachKeys?: string;
  Tty?: boolean;
  Env?: Maybe<string[]>;
  Cmd?: Maybe<string[]>;
  Privileged?: boolean;
  User?: string;
  WorkingDir?: string;
}
