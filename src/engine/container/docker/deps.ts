import type { InstanceContext } from "../../../base/index.ts";
import type { EventBus } from "../../events/index.ts";
import type { ImageService } from "../../image/index.ts";
import type { NetworkService } from "../../network/index.ts";
import type { SnapshotStore } from "../../snapshot/index.ts";
import type { VolumeService } from "../../volume/index.ts";
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
    "prepare" | "get" | "mount" | "unmount" | "remove" | "changes" | "usage" | "chain"
  >;
  readonly networks: Pick<
    NetworkService,
    "get" | "createSandbox" | "sandbox" | "connect" | "disconnect" | "publish" | "rename" | "destroySandbox"
  >;
  readonly volumes: Pick<
    VolumeService,
    "create" | "get" | "hold" | "release" | "mount" | "unmount" | "populate" | "subpath" | "remove"
  >;
  readonly events: EventBus;
}
