import type { Digest } from "../../content/index.ts";
import type {
  DockerContainerConfig,
  DockerEndpointSettings,
  DockerHostConfig,
  DockerMountPoint,
} from "../../../api/index.ts";

/** Everything berth knows about a Docker container, as it stands in `record.json`; memory holds a copy. */
export interface ContainerRecord {
  /** 64 hex digits. */
  readonly id: string;
  /** Without the leading slash. */
  name: string;
  readonly createdMs: number;
  readonly config: DockerContainerConfig;
  hostConfig: DockerHostConfig;
  /** What the user asked for per network, by network name or id as given. */
  endpoints: Record<string, DockerEndpointSettings>;
  /** Digest of the image's configuration. */
  readonly imageId: string;
  /** Entrypoint and command, joined. */
  readonly args: string[];
  readonly mounts: readonly MountRecord[];
  state: ContainerState;
  restartCount: number;
  /** `docker stop` or `kill` ended it: `unless-stopped` leaves it alone at the next daemon start. */
  stoppedByUser: boolean;
}

/** A mount as the spec needs it, and as inspect shows it. */
export interface MountRecord extends DockerMountPoint {
  /** Image only: what is mounted. `Source` is the image as it was named. */
  readonly chainId?: Digest;
  readonly imageId?: Digest;
  /** Volume or image: a directory or file within it. */
  readonly subpath?: string;
  /** Volume only: don't fill it from the image. */
  readonly noCopy?: boolean;
  /** tmpfs: mount options. */
  readonly options?: readonly string[];
  readonly nonRecursive?: boolean;
  /** Anonymous volumes go with the container under `rm -v` and `--rm`. */
  readonly anonymous?: boolean;
  /** bind: make the source when it is missing (`-v`), instead of an error (`--mount`). */
  readonly createSource?: boolean;
}

export interface ContainerState {
  status: "created" | "running" | "paused" | "restarting" | "removing" | "exited" | "dead";
  pid: number;
  exitCode: number;
  oomKilled: boolean;
  error: string;
  /** 0: never. */
  startedMs: number;
  finishedMs: number;
  /** While removing: its anonymous volumes go too. */
  removingVolumes?: boolean;
  health?: HealthState;
}

export interface HealthState {
  status: "starting" | "healthy" | "unhealthy";
  failingStreak: number;
  /** The last five. */
  log: Array<{ startMs: number; endMs: number; exitCode: number; output: string }>;
}

export const isRunning = (record: ContainerRecord) =>
  record.state.status === "running" || record.state.status === "paused";
