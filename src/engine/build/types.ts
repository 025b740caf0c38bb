/**
 * What the builder takes and gives. The words, as the field uses them:
 *
 *   stage    one FROM and what follows it
 *   step     one instruction of a stage
 *   layer    what one step changed in the root filesystem; known by its diff ID, and with all below it by a chain ID
 *   worker   what the builder needs from the machine: images, layers, running a command
 *   vertex   one step as progress shows it
 */
import type { OciImageConfig } from "../../api/index.ts";

export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
}

/** One layer, and the root filesystem that it completes. */
export interface Layer {
  /** Digest of the uncompressed layer tar. */
  readonly diffId: string;
  /** Digest of the whole chain up to this layer; names the root filesystem. */
  readonly chainId: string;
  /** Bytes that the layer itself takes. */
  readonly sizeBytes: number;
}

export interface RegistryAuth {
  readonly username?: string;
  readonly password?: string;
  readonly identitytoken?: string;
  readonly registrytoken?: string;
  readonly serveraddress?: string;
}

export interface BuildRequest {
  /** The context as a tar stream, plain or compressed; absent when `remote` is given or the Dockerfile needs none. */
  readonly context?: AsyncIterable<Uint8Array>;
  /** URL of a tar archive, a Dockerfile or a git repository, as POST /build knows it. */
  readonly remote?: string;
  /** Path of the Dockerfile inside the context. Default `Dockerfile`. */
  readonly dockerfile?: string;
  readonly tags?: readonly string[];
  readonly target?: string;
  /** A value of undefined means "declared, but not given". */
  readonly buildArgs?: Readonly<Record<string, string | undefined>>;
  readonly labels?: Readonly<Record<string, string>>;
  readonly platform?: string;
  readonly noCache?: boolean;
  /** Ask the registry even when the image is here. */
  readonly pull?: boolean;
  /** Caches that may be used: `NAME`, `type=registry,ref=NAME` (a cache, or an image with an inline one), `type=local,src=DIR`. */
  readonly cacheFrom?: readonly string[];
  /** `type=inline`, `type=registry,ref=NAME` or `type=local,dest=DIR`, the latter with `mode=min|max` and `ignore-error=true`. */
  readonly cacheTo?: readonly string[];
  /** Network of RUN steps: `default`, `none`, `host` or a network's name. */
  readonly networkMode?: string;
  readonly extraHosts?: readonly string[];
  readonly resources?: BuildResources;
  /** For `RUN --mount=type=secret`, by id. */
  readonly secrets?: Readonly<Record<string, Uint8Array>>;
  /** For `RUN --mount=type=ssh`, by id: the path of an agent's socket. */
  readonly sshSockets?: Readonly<Record<string, string>>;
  /** One layer instead of those that the Dockerfile made. */
  readonly squash?: boolean;
  /** By registry, as the X-Registry-Config header carries it. */
  readonly registryAuth?: Readonly<Record<string, RegistryAuth>>;
  readonly onProgress?: (event: BuildEvent) => void;
}

export interface BuildResources {
  readonly memoryBytes?: number;
  /** Memory and swap together; -1 for no limit. */
  readonly memorySwapBytes?: number;
  readonly cpuShares?: number;
  readonly cpuPeriod?: number;
  readonly cpuQuota?: number;
  readonly cpusetCpus?: string;
  readonly cpusetMems?: string;
  readonly cgroupParent?: string;
  readonly shmSizeBytes?: number;
  readonly ulimits?: readonly { readonly name: string; readonly soft: number; readonly hard: number }[];
}

export interface BuildResult {
  /** Digest of the image's configuration. */
  readonly imageId: string;
  /** Normalized references that now name the image. */
  readonly tags: readonly string[];
  readonly config: OciImageConfig;
  readonly warnings: readonly string[];
}

/** One step as progress shows it. `id` counts from 1 over the whole build. */
export interface Vertex {
  readonly id: number;
  /** The instruction as written, on one line. */
  readonly name: string;
  /** Which stage, and which of its steps; for `[build 2/4]`. Internal work (loading the context) has none. */
  readonly stage?: { readonly index: number; readonly name?: string; readonly step: number; readonly steps: number };
}

export type BuildEvent =
  | { readonly kind: "plan"; readonly steps: number }
  | { readonly kind: "started"; readonly vertex: Vertex }
  | { readonly kind: "cached"; readonly vertex: Vertex }
  | { readonly kind: "output"; readonly vertex: Vertex; readonly stream: "stdout" | "stderr"; readonly text: string }
  /** An image arrives layer by layer; `line` is a message of the Docker pull stream. */
  | { readonly kind: "pull"; readonly vertex: Vertex; readonly line: Readonly<Record<string, unknown>> }
  /** `result` is the short id that the classic stream shows; the last step has none, what it made is the image. */
  | { readonly kind: "done"; readonly vertex: Vertex; readonly result?: string; readonly durationMs: number }
  | { readonly kind: "failed"; readonly vertex: Vertex; readonly message: string; readonly durationMs: number }
  | { readonly kind: "image"; readonly id: string }
  | { readonly kind: "warning"; readonly message: string };

/** One record of the build cache, as `docker system df -v` and `docker builder prune` know it. */
export interface CacheRecord {
  readonly id: string;
  readonly parents: readonly string[];
  readonly type: "internal" | "frontend" | "source.local" | "source.git.checkout" | "exec.cachemount" | "regular";
  readonly description: string;
  readonly inUse: boolean;
  readonly shared: boolean;
  readonly sizeBytes: number;
  readonly createdAtMs: number;
  readonly lastUsedAtMs: number;
  readonly usageCount: number;
}

export interface CachePruneOptions {
  /** Also what a build mounts and could need again (cache mounts). */
  readonly all?: boolean;
  /** Keep what was used within this time. */
  readonly olderThanMs?: number;
  /** Delete the least recently used until no more than this is left. */
  readonly keepBytes?: number;
  readonly filters?: {
    readonly id?: readonly string[];
    readonly parent?: readonly string[];
    readonly type?: readonly string[];
    readonly description?: readonly string[];
    readonly inUse?: boolean;
    readonly shared?: boolean;
    readonly private?: boolean;
  };
}

export interface CachePruneResult {
  readonly deleted: readonly string[];
  readonly reclaimedBytes: number;
}

/** The engine's builder. */
export interface Builder {
  /**
   * Builds an image. Rejects with invalidArgument for a malformed Dockerfile (the message carries line, column and an excerpt),
   * failedPrecondition when a RUN step fails (`details.exitCode`), canceled when `signal` fires. Nothing of a failed build
   * is left behind but the cache records of the steps that worked.
   */
  build(request: BuildRequest, signal: AbortSignal): Promise<BuildResult>;
  cache: {
    list(): Promise<readonly CacheRecord[]>;
    prune(options: CachePruneOptions): Promise<CachePruneResult>;
  };
}
