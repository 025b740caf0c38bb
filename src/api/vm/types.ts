/**
 * berth's API for virtual machines: JSON over HTTP on the instance's `vm.sock`, below `/berth/v1`. Sizes are bytes, times milliseconds since the epoch.
 */
export type VmState = "created" | "starting" | "running" | "paused" | "stopping" | "stopped" | "crashed" | "saved";

/** `kernel`: berth's own kernel is booted directly; else the firmware boots from the disks. */
export type VmFirmware = "kernel" | "bios" | "uefi";

export interface VmDiskSpec {
  /** `disk0`, `disk1`, …: the first is booted from. */
  readonly name: string;
  readonly sizeBytes: number;
}

export interface VmNetworkSpec {
  /** Name or id of one of the engine's networks. */
  readonly network: string;
  readonly macAddress: string;
  /** Asked for, or the one that the machine had when it last ran, and gets again when it is free. */
  readonly ipv4Address?: string;
}

export interface VmPort {
  readonly guestPort: number;
  readonly protocol: "tcp" | "udp";
  readonly hostAddress?: string;
  /** 0 or left out: any free one. */
  readonly hostPort?: number;
}

export interface VmShare {
  /** A folder of the host. */
  readonly source: string;
  /** Under which the guest mounts it: `mount -t virtiofs TAG /where`. */
  readonly tag: string;
  readonly readonly?: boolean;
}

export interface VmLimits {
  /** Thousandths of a host's processor, for all virtual ones together. 0: none. */
  readonly cpuMillis?: number;
  readonly readBytesPerSecond?: number;
  readonly writeBytesPerSecond?: number;
  readonly iops?: number;
}

/** What a machine is, as it was asked for; kept as long as the machine. */
export interface VmSpec {
  readonly cpus: number;
  /** Up to so many can be added while it runs. */
  readonly maxCpus: number;
  readonly memoryBytes: number;
  /** Up to so much can be added while it runs. */
  readonly maxMemoryBytes: number;
  readonly firmware: VmFirmware;
  readonly disks: readonly VmDiskSpec[];
  readonly networks: readonly VmNetworkSpec[];
  readonly ports: readonly VmPort[];
  readonly shares: readonly VmShare[];
  readonly limits: VmLimits;
  readonly hostname: string;
  /** The login that cloud-init makes, with berth's own key and these. */
  readonly user: string;
  readonly sshKeys: readonly string[];
  readonly userData?: string;
  /** A file of the host in the CD-ROM drive. */
  readonly cdrom?: string;
  /** A screen, served on a unix socket. */
  readonly vnc: boolean;
  /** What an OCI image says is to be run, for machines made from one. */
  readonly process?: VmProcess;
  /** Started again when the daemon starts and it is not running. */
  readonly autostart: boolean;
}

export interface VmProcess {
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string;
  readonly user: string;
}

/** `POST /vms`. What is left out has a default. */
export interface CreateVmRequest {
  readonly name: string;
  /**
   * Where the first disk comes from: a name of the catalogue (`debian`), `oci:IMAGE`, `vm:NAME` (a linked clone; `vm:NAME@SNAPSHOT`), a disk image or ISO of the host by
   * absolute path, or `https://…` with `sha256`.
   */
  readonly source: string;
  readonly sha256?: string;
  readonly cpus?: number;
  readonly maxCpus?: number;
  readonly memoryBytes?: number;
  readonly maxMemoryBytes?: number;
  readonly firmware?: VmFirmware;
  /** Size of the first disk at least. */
  readonly diskBytes?: number;
  /** Further, empty disks. */
  readonly extraDisks?: readonly number[];
  readonly networks?: ReadonlyArray<{
    readonly network: string;
    readonly ipv4Address?: string;
    readonly macAddress?: string;
  }>;
  readonly ports?: readonly VmPort[];
  readonly shares?: readonly VmShare[];
  readonly limits?: VmLimits;
  readonly hostname?: string;
  readonly user?: string;
  readonly sshKeys?: readonly string[];
  readonly userData?: string;
  readonly cdrom?: string;
  readonly vnc?: boolean;
  /** Asked for by the screen; at most 8 characters count. */
  readonly vncPassword?: string;
  readonly args?: readonly string[];
  /** A clone with a disk of its own. */
  readonly full?: boolean;
  readonly autostart?: boolean;
}

export interface VmAddress {
  readonly network: string;
  readonly macAddress: string;
  readonly ipv4Address: string;
}

/** `GET /vms/NAME`. */
export interface VmView {
  readonly id: string;
  readonly name: string;
  readonly source: string;
  readonly state: VmState;
  /** Why it is in this state, where that is worth telling. */
  readonly reason?: string;
  readonly spec: VmSpec;
  readonly addresses: readonly VmAddress[];
  readonly ports: ReadonlyArray<VmPort & { readonly hostPort: number }>;
  /** `kvm` or `tcg`, while it runs. */
  readonly accelerator?: string;
  readonly createdMs: number;
  readonly startedMs?: number;
  readonly finishedMs?: number;
  readonly exitCode?: number;
  readonly pid?: number;
  readonly vncSocket?: string;
  readonly lastBackupMs?: number;
  /** What berth recommends, each with the figures behind it. */
  readonly advice: readonly VmAdvice[];
}

export interface VmAdvice {
  readonly kind: "noRecentBackup" | "overProvisioned" | "underProvisioned" | "hostStressed";
  readonly message: string;
}

export interface VmStats {
  readonly atMs: number;
  /** Processor time of the whole monitor, nanoseconds. */
  readonly cpuNs: number;
  /** Of one host processor, over the time between two looks; absent at the first. */
  readonly cpuPercent?: number;
  /** As the guest counts it; absent without an agent. */
  readonly stealPercent?: number;
  readonly memoryGivenBytes: number;
  /** Used by the guest, from its balloon; absent before its driver runs. */
  readonly memoryUsedBytes?: number;
  /** On the host, monitor included. */
  readonly hostMemoryBytes: number;
  readonly readBytes: number;
  readonly writeBytes: number;
  readonly rxBytes: number;
  readonly txBytes: number;
  /** Share of time in which something on the host waited (PSI `some avg10`), percent. */
  readonly hostPressure: { readonly cpu?: number; readonly memory?: number; readonly io?: number };
}

export interface VmExecRequest {
  readonly args: readonly string[];
  readonly env?: readonly string[];
  readonly input?: string;
  readonly timeoutMs?: number;
}

export interface VmExecResult {
  readonly code: number;
  /** Base64. */
  readonly stdout: string;
  readonly stderr: string;
  readonly truncated: boolean;
}

export interface VmResize {
  readonly cpus?: number;
  readonly memoryBytes?: number;
  readonly diskBytes?: number;
  readonly limits?: VmLimits;
}

export interface VmSnapshot {
  readonly name: string;
  /** The snapshot that the machine stood on when this one was made. */
  readonly parent?: string;
  readonly createdMs: number;
  /** With memory: reverting goes on from the very moment. */
  readonly memory: boolean;
  readonly description: string;
  /** The machine stands on it now. */
  readonly current: boolean;
}

export interface VmBackup {
  readonly id: string;
  readonly vm: string;
  readonly kind: "full" | "incremental";
  readonly parent?: string;
  readonly createdMs: number;
  /** How sure the content is: `agent` froze the guest's file systems, `off`: it did not run, `crash`: as after a power cut. */
  readonly consistency: "agent" | "off" | "crash";
  readonly disks: ReadonlyArray<{ readonly name: string; readonly sizeBytes: number; readonly sha256: string }>;
}

export interface VmBackupPolicy {
  /** Between two backups, at least a minute. */
  readonly everyMs: number;
  /** So many are kept; a full one is made anew when all of them hang on one chain. */
  readonly keep: number;
}

export interface VmImage {
  readonly name: string;
  readonly description: string;
  /** On this machine already. */
  readonly present: boolean;
  readonly sizeBytes?: number;
}
