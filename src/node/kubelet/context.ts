import type { Clock, Logger } from "../../base/index.ts";
import type { DeviceManager } from "./devices/manager.ts";
import type { ResourceClaims } from "./dra/claims.ts";
import type { DnsOptions } from "./runtime/name-resolution.ts";
import type { ImagePuller } from "./images/puller.ts";
import type { KubeletApi, MachineFacts } from "./kubelet-api.ts";
import type { Container, cri, Pod } from "./pod/imports.ts";
import type { Observed } from "./pod/plan.ts";
import type { Verdict } from "./pod/verdict.ts";
import type { Prober } from "./probe/prober.ts";
import type { StatusWriter } from "./status/status-writer.ts";
import type { IdRanges } from "./userns/id-ranges.ts";
import type { Volumes } from "./volumes/volumes.ts";

/** What every Pod worker shares. */
export interface KubeletContext {
  readonly nodeName: string;
  readonly machine: MachineFacts;
  readonly runtime: cri.RuntimeService;
  /** `berth`, or what else the runtime calls itself. */
  readonly runtimeName: string;
  readonly api: KubeletApi;
  readonly clock: Clock;
  readonly log: Logger;
  readonly prober: Prober;
  readonly puller: ImagePuller;
  readonly volumes: Volumes;
  readonly devices: DeviceManager;
  readonly claims: ResourceClaims;
  readonly idRanges: IdRanges;
  readonly statusWriter: StatusWriter;
  readonly dns: DnsOptions;
  /** Pod logs stand in `logRoot/NAMESPACE_NAME_UID/CONTAINER/ATTEMPT.log`. */
  readonly logRoot: string;
  readonly seccompRoot: string;
  /** Undefined when this node takes the Pod; else why not. */
  admit(pod: Pod, observed: Observed): Promise<Verdict | undefined>;
  /** Undefined when the Pod, as it is now, has room beside the others. */
  fits(pod: Pod): Verdict | undefined;
  /** Undefined when the node, with nothing else on it, has room for the Pod. */
  fitsAlone(pod: Pod): Verdict | undefined;
  runtimeHandler(pod: Pod): Promise<string>;
  removeLogs(folder: string): Promise<void>;
  /** Resolves when no Service sends a Pod that is being deleted anything new. */
  drained(pod: Pod): Promise<void>;
  event(pod: Pod, container: Container | undefined, type: "Normal" | "Warning", reason: string, message: string): void;
}
