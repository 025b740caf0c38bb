import type { Isolation } from "./container/index.ts";

/** What the engine is told by the daemon's configuration. */
export interface EngineOptions {
  readonly registryMirrors: readonly string[];
  readonly insecureRegistries: readonly string[];
  readonly dns: readonly string[];
  readonly addressPools: ReadonlyArray<{ readonly base: string; readonly size: number }>;
  readonly defaultRuntime: string;
  readonly runtimes: Readonly<Record<string, { readonly path: string }>>;
  /** Ways to isolate besides `process`; the daemon injects the VM room's. */
  readonly isolations?: readonly Isolation[];
}
