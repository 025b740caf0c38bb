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
export type * from "./host-facts.ts";
export type * from "./options.ts";
export * from "./container/index.ts";
export * from "./cri/index.ts";
export { GUEST_DNS, hostNameServers } from "./network/index.ts";
export type {
  Endpoint,
  EndpointSpec,
  Network,
  NetworkService,
  NetworkSpec,
  PortBinding,
  PublishedPort,
  Sandbox as NetworkSandbox,
  SandboxSpec as NetworkSandboxSpec,
} from "./network/index.ts";
export type { Volume, VolumeService, VolumeSpec, VolumeUsage } from "./volume/index.ts";
export type * from "./content/index.ts";
export type { SnapshotStore } from "./snapshot/index.ts";
export { RegistryServer } from "./registry/server/index.ts";
