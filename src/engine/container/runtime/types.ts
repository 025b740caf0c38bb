/**
 * The runtime core: what `docker run`, a build's RUN step and a Pod's container have in common.
 *
 * Vocabulary. An **isolation** is a way to keep things apart (`process`: namespaces and cgroups on the shared kernel; `vm`: a kernel of
 * their own). It makes **sandboxes**: a set of namespaces (or a machine) that one or more containers share. A **container** is a rootfs
 * plus an OCI spec, with an init process, a monitor that holds its stdio, log and exit code, and further processes by **exec**.
 *
 * Life of a container: `createContainer` (monitor and runtime hold the init process before its first instruction; `attach` may be called, so
 * that no output is lost) → `start` → running → `wait` answers with the exit → `delete`. Everything survives the daemon: facts stand on
 * disk next to the container, and `Isolation.recover` finds sandboxes and containers again.
 */
import type { Ulimit } from "../spec/ulimits.ts";
import type { CgroupStats } from "../../../host/index.ts";
import type { OciMount, OciProcess, OciResources, OciSpec } from "../../../api/index.ts";

export type IsolationName = "process" | "vm";

/** A way to isolate. Implemented by `process` here and by `vm` in the vm room; the daemon injects the latter. */
export interface Isolation {
  readonly name: IsolationName;
  /** Errors: alreadyExists, unavailable (this host cannot). */
  createSandbox(request: SandboxRequest, signal?: AbortSignal): Promise<Sandbox>;
  /** Finds what a former daemon left running, and reclaims what belongs to no record. */
  recover(): Promise<Sandbox[]>;
  /** Stops watching; containers keep running. */
  close(): Promise<void>;
}

export interface SandboxRequest {
  /** `a-z A-Z 0-9 _ . -`, at most 128 characters, unique within the instance. */
  readonly id: string;
  /** Path of the network namespace; undefined: the host's. */
  readonly netnsPath?: string;
  /** Namespaces that the sandbox itself holds for all its containers (a Pod's). Docker's containers share none and leave this empty. */
  readonly shared?: { readonly ipc?: boolean; readonly uts?: boolean; readonly pid?: boolean };
  readonly hostname?: string;
  readonly sysctls?: Readonly<Record<string, string>>;
  /** Parent of the containers' cgroups, relative to the hierarchy's root; default: the instance's own. */
  readonly cgroupParent?: string;
  /** What the sandbox as a whole may use: the size of a microVM, the limits of a Pod's cgroup. */
  readonly resources?: OciResources;
  /** Free facts for the owner, kept on disk and given back after a restart. */
  readonly labels?: Readonly<Record<string, string>>;
}

export interface Sandbox {
  readonly id: string;
  readonly isolation: IsolationName;
  readonly request: SandboxRequest;
  /** Paths of the shared namespaces, for the specs of containers in it. */
  readonly namespaces: { readonly net?: string; readonly ipc?: string; readonly uts?: string; readonly pid?: string };
  /** Errors: alreadyExists, invalidArgument (spec), notFound (executable), permissionDenied (not executable), internal (runtime's message). */
  createContainer(request: ContainerRequest, signal?: AbortSignal): Promise<RuntimeContainer>;
  container(id: string): RuntimeContainer | undefined;
  containers(): readonly RuntimeContainer[];
  /** Kills what still runs and leaves nothing behind. Idempotent. */
  destroy(): Promise<void>;
}

export interface ContainerRequest {
  readonly id: string;
  /** The OCI spec in full. `root.path` must be mounted; `linux.cgroupsPath` is filled in when absent. */
  readonly spec: OciSpec;
  /** OCI runtime binary; default `crun`. */
  readonly runtime?: string;
  /** Keep the init process' stdin open for attach. Without it stdin is /dev/null. */
  readonly stdin?: boolean;
  /** Close stdin after the first attached client has gone. */
  readonly stdinOnce?: boolean;
  /** Where the monitor writes the log, in CRI's format (`time stream P|F text`); absent: no log. */
  readonly logPath?: string;
  /** The monitor starts a new log file beyond this size. */
  readonly logMaxBytes?: number;
  /** Kill after this many seconds (conmon -T); exit has `timedOut`. */
  readonly timeoutSeconds?: number;
  readonly labels?: Readonly<Record<string, string>>;
}

export type RuntimeState = "created" | "running" | "paused" | "exited";

export interface RuntimeExit {
  /** 0 to 255; 128 + signal for a killed process. */
  readonly code: number;
  readonly oomKilled: boolean;
  /** Milliseconds since the epoch. */
  readonly atMs: number;
  readonly timedOut?: boolean;
}

export interface RuntimeContainer {
  readonly id: string;
  /** Of the init process in the host's pid namespace (in the guest's for `vm`). */
  readonly pid: number;
  readonly state: RuntimeState;
  readonly logPath: string | undefined;
  readonly request: ContainerRequest;
  /** Errors: failedPrecondition when not `created`; see createContainer for errors of the executable. */
  start(): Promise<void>;
  /** Signals the init process (`all`: every process of the container). `notFound` when it no longer runs. */
  kill(signal: number, all?: boolean): Promise<void>;
  pause(): Promise<void>;
  resume(): Promise<void>;
  update(resources: OciResources): Promise<void>;
  attach(): Promise<AttachStream>;
  resize(size: TtySize): Promise<void>;
  exec(request: ExecRequest, signal?: AbortSignal): Promise<RuntimeExec>;
  wait(signal?: AbortSignal): Promise<RuntimeExit>;
  /** All processes of the container, in the host's pid namespace. */
  processes(): Promise<number[]>;
  /** What `ps` says of them; only where the host does not see them. Errors: notImplemented (columns). */
  top?(psArgs: string): Promise<ProcessTable>;
  /** Where the host finds the running container's root, volumes and all; absent: `/proc/PID/root`. */
  rootPath?(): Promise<string>;
  stats(): Promise<RuntimeStats>;
  /** Closes the log and opens it anew, after a rotation by rename. */
  reopenLog(): Promise<void>;
  /** Kills when still alive, and removes all traces but the log. Idempotent. */
  delete(): Promise<void>;
}

export interface ProcessTable {
  readonly titles: readonly string[];
  readonly processes: ReadonlyArray<readonly string[]>;
}

export interface TtySize {
  readonly columns: number;
  readonly rows: number;
}

/** The live stdio of a process. With a TTY everything comes as stdout. */
export interface AttachStream {
  /** Called for each chunk until `ended`. Set before the next turn of the loop, else chunks are lost. */
  onData(listener: (stream: "stdout" | "stderr", chunk: Buffer) => void): void;
  /** Resolves when the process' output has ended or `close` was called. */
  readonly ended: Promise<void>;
  /** False: wait for the promise of `drained` before writing on. */
  write(chunk: Uint8Array): boolean;
  drained(): Promise<void>;
  /** No more stdin. */
  closeStdin(): void;
  /** Backpressure: stop and go on reading the process' output. */
  pause(): void;
  resume(): void;
  close(): void;
}

export interface ExecRequest {
  /** Unique within the container. */
  readonly id: string;
  readonly process: OciProcess;
  readonly stdin?: boolean;
  readonly timeoutSeconds?: number;
  /** Nobody looks at its output, and it is to go on when the daemon ends. */
  readonly detached?: boolean;
}

export interface RuntimeExec {
  readonly id: string;
  readonly pid: number;
  readonly stream: AttachStream;
  resize(size: TtySize): Promise<void>;
  kill(signal: number): Promise<void>;
  /** 0 to 255; 126 not executable, 127 not found. */
  wait(signal?: AbortSignal): Promise<RuntimeExit>;
}

/** Counters of a container's cgroup; fields are absent where the controller is. */
export interface RuntimeStats extends CgroupStats {
  readonly atMs: number;
  readonly network?: ReadonlyArray<{
    readonly name: string;
    readonly rxBytes: number;
    readonly rxPackets: number;
    readonly rxErrors: number;
    readonly rxDropped: number;
    readonly txBytes: number;
    readonly txPackets: number;
    readonly txErrors: number;
    readonly txDropped: number;
  }>;
}

/** What a one-off process in a rootfs needs: a build's RUN step. */
export interface RunRequest {
  readonly id: string;
  /** A mounted, writable rootfs. */
  readonly rootfs: string;
  readonly args: readonly string[];
  /** `NAME=value`. */
  readonly env: readonly string[];
  readonly cwd: string;
  /** `user[:group]` by name or number, resolved in the rootfs. */
  readonly user?: string;
  readonly mounts?: readonly OciMount[];
  /** undefined: no network; "host": the host's; else the path of a network namespace. */
  readonly network?: string;
  readonly hostname?: string;
  /** As `docker build --security=insecure`. */
  readonly privileged?: boolean;
  readonly resources?: OciResources;
  /** Size of /dev/shm; Docker's default when not given. */
  readonly shmBytes?: number;
  readonly ulimits?: readonly Ulimit[];
  /** Control group below which the process gets its own; the instance's when not given. */
  readonly cgroupParent?: string;
  readonly readonlyRootfs?: boolean;
  readonly capabilities?: readonly string[];
  readonly onOutput: (stream: "stdout" | "stderr", chunk: Buffer) => void;
}

/** Runs one process to its end and leaves nothing behind; `signal` kills it (error `canceled`). */
export type RunOnce = (request: RunRequest, signal?: AbortSignal) => Promise<RuntimeExit>;
