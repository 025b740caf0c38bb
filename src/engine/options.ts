import type { ContainerDefaults, Isolation } from "./container/index.ts";
import type { BridgeSettings } from "./network/index.ts";
import type { TransferLimits } from "./registry/index.ts";

/** What the engine is told by the daemon's configuration. */
export interface EngineOptions {
  readonly registryMirrors: readonly string[];
  readonly insecureRegistries: readonly string[];
  /** Authorities and client certificates by registry, as in Docker's folder, which it is when left out. */
  readonly certsDir?: string;
  readonly transfers?: Partial<TransferLimits>;
  readonly dns: readonly string[];
  readonly dnsSearch?: readonly string[];
  readonly dnsOptions?: readonly string[];
  readonly bridge?: BridgeSettings;
  readonly containerDefaults?: ContainerDefaults;
  /** Whose ids containers' users have on the host: dockerd's `userns-remap`. */
  readonly usernsRemap?: string;
  readonly labels?: readonly string[];
  readonly addressPools: ReadonlyArray<{ readonly base: string; readonly size: number }>;
  readonly defaultRuntime: string;
  readonly runtimes: Readonly<Record<string, { readonly path: string }>>;
  /** Ways to isolate besides `process`; the daemon injects the VM room's. */
  readonly isolations?: readonly Isolation[];
  /** Network sandboxes that others than the engine's containers own, and which outlive a restart: those of virtual machines. */
  readonly claimedSandboxes?: () => readonly string[];
}

/** What dockerd, too, takes over from its configuration file on SIGHUP, as far as it concerns the engine. */
export type ReloadableOptions = Pick<
  EngineOptions,
  "registryMirrors" | "insecureRegistries" | "transfers" | "defaultRuntime" | "runtimes" | "labels"
>;
