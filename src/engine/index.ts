export * from "./engine.ts";
export type * from "./events/index.ts";
export { ClassicProgress, PlainProgress } from "./build/index.ts";
export type {
  Builder,
  BuildEvent,
  BuildRequest,
  BuildResources,
  BuildResult,
  CachePruneOptions,
  CacheRecord,
  RegistryAuth as BuildRegistryAuth,
  StreamMessage as ClassicMessage,
} from "./build/index.ts";
export * from "./image/index.ts";
export type { Layer } from "./snapshot/index.ts";
export type { RegistryAuth } from "./registry/index.ts";
