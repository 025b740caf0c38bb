import type { InstanceContext } from "../../../base/index.ts";
import type { EventBus } from "../../events/index.ts";
import type { ImageService } from "../../image/index.ts";
import type { NetworkService } from "../../network/index.ts";
import type { SnapshotStore } from "../../snapshot/index.ts";
import type { VolumeService } from "../../volume/index.ts";
import type { IdMappings } from "../spec/id-mappings.ts";
import type { Core, Isolation, IsolationName } from "../runtime/index.ts";

/** The parts of other rooms that containers are made of; each narrowed to what is used, so that a test can fake it. */
export interface ContainerDeps {
  readonly ctx: InstanceContext;
  readonly core: Core;
  /** `process` always; `vm` where the daemon injected it. */
  readonly isolations: ReadonlyMap<IsolationName, Isolation>;
  readonly images: Pick<ImageService, "resolve" | "find" | "setUsers">;
  readonly snapshots: Pick<
    SnapshotStore,
    "prepare" | "list" | "get" | "mount" | "mountLayer" | "unmount" | "remove" | "changes" | "usage" | "chain"
  >;
  readonly networks: Pick<
    NetworkService,
    | "get"
    | "createSandbox"
    | "sandbox"
    | "connect"
    | "disconnect"
    | "publish"
    | "rename"
    | "destroySandbox"
    | "netnsPath"
    | "settled"
  >;
  readonly volumes: Pick<
    VolumeService,
    "create" | "get" | "hold" | "release" | "mount" | "unmount" | "populate" | "subpath" | "remove"
  >;
  readonly events: EventBus;
  /** What containers get that say nothing themselves: the daemon's configuration. */
  readonly defaults: ContainerDefaults;
}

/** The daemon's configuration as far as it concerns single containers. Keys are dockerd's. */
export interface ContainerDefaults {
  /** `userns-remap`: whose ids a container's users have on the host; undefined: the same. */
  readonly idMappings?: IdMappings;
  /** `init` and `init-path`. */
  readonly init?: boolean;
  readonly initPath?: string;
  readonly logDriver?: string;
  readonly logOptions?: Readonly<Record<string, string>>;
  readonly ulimits?: readonly { readonly Name: string; readonly Soft: number; readonly Hard: number }[];
  readonly shmBytes?: number;
  readonly ipcMode?: string;
  readonly cgroupnsMode?: string;
  readonly cgroupParent?: string;
  readonly noNewPrivileges?: boolean;
  /** JSON of a profile, `builtin` or `unconfined`. */
  readonly seccompProfile?: string;
  /** Seconds that containers have for their end when the daemon itself is told to end them. */
  readonly shutdownTimeoutSeconds?: number;
}
