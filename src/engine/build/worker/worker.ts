/**
 * What the builder needs from the machine it builds on. The parser, the graph and the solver know nothing else, so that they are tested with a
 * fake; `engine.ts` joins the interface to the engine's own images, snapshots, networks and containers.
 */
import type { Readable } from "node:stream";
import type { OciImageConfig, OciMount } from "../../../api/index.ts";
import type { ArtifactPlace, PackedLayer } from "../../image/index.ts";
import type { BuildResources, Layer, Platform, RegistryAuth } from "../types.ts";

export interface BaseImage {
  readonly id: string;
  readonly config: OciImageConfig;
  /** Undefined for an image without layers. */
  readonly chainId: string | undefined;
}

export interface ResolveOptions {
  readonly platform: Platform;
  /** Ask the registry even when the image is here. */
  readonly pull: boolean;
  readonly registryAuth?: Readonly<Record<string, RegistryAuth>>;
  readonly onPull?: (line: Readonly<Record<string, unknown>>) => void;
  readonly signal: AbortSignal;
}

/** A read-only root filesystem. Disposing of it takes the mount away. */
export interface View extends AsyncDisposable {
  readonly root: string;
}

export interface RunSpec {
  /** Unique within the machine. */
  readonly id: string;
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string;
  readonly user: string | undefined;
  readonly mounts: readonly OciMount[];
  /** `none`, `host`, `default` or a network's name. */
  readonly network: string;
  readonly extraHosts: readonly string[];
  readonly insecure: boolean;
  readonly resources: BuildResources | undefined;
  readonly onOutput: (stream: "stdout" | "stderr", chunk: Buffer) => void;
}

/**
 * A layer in the making on top of a parent. Write into `upper` while it is not mounted, or into the root while it is; then commit. Disposing of a
 * draft that was not committed leaves nothing behind.
 */
export interface Draft extends AsyncDisposable {
  /** What the layer adds, in overlay form. */
  readonly upper: string;
  /** Mounts the whole root filesystem, writable. Idempotent. */
  mount(): Promise<string>;
  unmount(): Promise<void>;
  /** Runs a process in the mounted root; resolves with its exit code. */
  run(spec: RunSpec, signal: AbortSignal): Promise<number>;
  /** Modification times after `clampMtimeMs` become that one. */
  commit(options: { readonly clampMtimeMs?: number }): Promise<Layer>;
}

export interface PublishRequest {
  readonly config: OciImageConfig;
  readonly chainId: string | undefined;
  readonly parent: string | undefined;
  readonly tags: readonly string[];
}

/** What a cache says of a layer. */
export type TravelingLayer = Pick<PackedLayer, "digest" | "sizeBytes" | "mediaType" | "diffId">;

export interface ArtifactOptions {
  readonly write: boolean;
  readonly registryAuth?: Readonly<Record<string, RegistryAuth>>;
  readonly signal: AbortSignal;
}

export interface Worker {
  readonly platform: Platform;
  /** A directory of the builder's own, on the same file system as the layers, so that files can be linked into them. */
  readonly scratchDir: string;
  /** For secrets: a directory that is gone after a reboot. */
  readonly volatileDir: string;
  /** Errors: notFound with Docker's words, unavailable when the registry cannot be reached. */
  image(reference: string, options: ResolveOptions): Promise<BaseImage>;
  /** Undefined when the layer, or one below it, is no longer there. */
  layer(chainId: string): Layer | undefined;
  view(chainId: string | undefined): Promise<View>;
  begin(parent: string | undefined): Promise<Draft>;
  /** The same layer on another parent (`COPY --link`). */
  restack(layer: Layer, parent: string | undefined): Promise<Layer>;
  /** The layer and those below it, the lowest first. */
  chain(chainId: string): readonly Layer[];
  /** A layer in the form in which it travels. */
  pack(chainId: string, signal: AbortSignal): Promise<PackedLayer>;
  /** Takes in a layer that came from elsewhere, verified, and keeps it; what is here already isn't fetched. */
  unpack(
    parent: string | undefined,
    packed: TravelingLayer,
    source: () => Promise<Readable>,
    signal: AbortSignal,
  ): Promise<Layer>;
  /** A name in a registry as a place for a cache. */
  artifacts(reference: string, options: ArtifactOptions): ArtifactPlace;
  /** Makes the image and names it. */
  publish(request: PublishRequest): Promise<{ readonly id: string; readonly tags: readonly string[] }>;
  /** Keeps a layer (and those below) from the garbage collector until it is forgotten. */
  keep(chainId: string): void;
  /** Lets layers go; resolves with the bytes that became free. */
  forget(chainIds: readonly string[]): Promise<number>;
}
