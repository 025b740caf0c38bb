/** Joins the builder to the engine: images, snapshots, networks, and the runtime core for RUN. */
import fs from "node:fs";
import path from "node:path";
import type { Readable } from "node:stream";
import type { OciMount, OciPlatform, OciResources } from "../../../api/index.ts";
import { kernelName, type InstanceContext } from "../../../base/index.ts";
import type { RunOnce } from "../../container/index.ts";
import {
  familiarName,
  parseReference,
  type ArtifactPlace,
  type ImageService,
  type PackedLayer,
} from "../../image/index.ts";
import type { NetworkService } from "../../network/index.ts";
import type { SnapshotStore } from "../../snapshot/index.ts";
import { buildPlaces, DRAFT_PREFIX } from "./places.ts";
import type { BuildResources, Layer, Platform, RegistryAuth } from "../types.ts";
import type {
  ArtifactOptions,
  Draft,
  PublishRequest,
  ResolveOptions,
  RunSpec,
  TravelingLayer,
  View,
  Worker,
} from "./worker.ts";

export interface EngineWorkerOptions {
  readonly context: InstanceContext;
  readonly images: ImageService;
  readonly snapshots: SnapshotStore;
  readonly networks: NetworkService;
  readonly runOnce: RunOnce;
  /** Chain IDs that the garbage collector keeps for the build cache. */
  readonly kept: Set<string>;
}

const ARCHITECTURES: Record<string, string> = { x64: "amd64", ia32: "386" };

export function createEngineWorker(options: EngineWorkerOptions): Worker {
  return new EngineWorker(options);
}

class EngineWorker implements Worker {
  readonly platform: Platform = { os: "linux", architecture: ARCHITECTURES[process.arch] ?? process.arch };
  readonly scratchDir: string;
  readonly volatileDir: string;
  readonly #options: EngineWorkerOptions;
  readonly #mountDir: string;
  readonly #kept: Set<string>;
  #sequence = 0;

  constructor(options: EngineWorkerOptions) {
    const places = buildPlaces(options.context);
    this.#options = options;
    this.#kept = options.kept;
    this.scratchDir = places.scratch;
    this.volatileDir = places.secrets;
    this.#mountDir = places.mounts;
  }

  async image(reference: string, options: ResolveOptions) {
    const { images } = this.#options;
    const transfer = {
      platform: options.platform as OciPlatform,
      signal: options.signal,
      ...(options.onPull
        ? { onProgress: (message: object) => options.onPull!(message as Record<string, unknown>) }
        : {}),
      ...authFor(reference, options.registryAuth),
    };
    const image = options.pull ? await images.pull(reference, transfer) : await images.ensure(reference, transfer);
    return { id: image.id, config: image.config, chainId: image.chainId };
  }

  layer(chainId: string): Layer | undefined {
    return this.#options.snapshots.layer(chainId);
  }

  #target(): string {
    return path.join(this.#mountDir, `${process.pid}-${++this.#sequence}`);
  }

  async view(chainId: string | undefined): Promise<View> {
    const { snapshots } = this.#options;
    const root = this.#target();
    fs.mkdirSync(root, { recursive: true });
    if (chainId !== undefined) await snapshots.mountLayer(chainId, root);
    return {
      root,
      [Symbol.asyncDispose]: async () => {
        if (chainId !== undefined) await snapshots.unmount(root);
        fs.rmdirSync(root);
      },
    };
  }

  async begin(parent: string | undefined): Promise<Draft> {
    const { context, snapshots } = this.#options;
    const key = `${DRAFT_PREFIX}${Buffer.from(context.random.bytes(16)).toString("hex")}`;
    const { upperPath } = await snapshots.prepare(key, parent);
    return new SnapshotDraft(this.#options, key, upperPath, this.#target());
  }

  async restack(layer: Layer, parent: string | undefined): Promise<Layer> {
    return await this.#options.snapshots.restack(layer.chainId, parent);
  }

  chain(chainId: string): readonly Layer[] {
    return this.#options.snapshots.chain(chainId);
  }

  pack(chainId: string, signal: AbortSignal): Promise<PackedLayer> {
    return this.#options.images.exportLayer(chainId, signal);
  }

  unpack(
    parent: string | undefined,
    packed: TravelingLayer,
    source: () => Promise<Readable>,
    signal: AbortSignal,
  ): Promise<Layer> {
    const keep = (layer: Layer) => this.keep(layer.chainId);
    return this.#options.images.importLayer(parent, packed, source, { signal, keep });
  }

  artifacts(reference: string, { write, signal, registryAuth }: ArtifactOptions): ArtifactPlace {
    return this.#options.images.artifacts(reference, { write, signal, ...authFor(reference, registryAuth) });
  }

  async publish({ config, chainId, parent, tags }: PublishRequest) {
    const { rootfs: _, ...rest } = config;
    const image = await this.#options.images.create({ config: rest, chainId, tags, ...(parent ? { parent } : {}) });
    // Of its names only those that were asked for: an image that was there may have others.
    return { id: image.id, tags: tags.map((tag) => familiarName(parseReference(tag))) };
  }

  keep(chainId: string): void {
    this.#kept.add(chainId);
  }

  async forget(chainIds: readonly string[]): Promise<number> {
    for (const chainId of chainIds) this.#kept.delete(chainId);
    return chainIds.length === 0 ? 0 : (await this.#options.images.collectGarbage()).freedBytes;
  }
}

class SnapshotDraft implements Draft {
  readonly upper: string;
  readonly #options: EngineWorkerOptions;
  readonly #key: string;
  readonly #target: string;
  #mounted = false;
  #committed = false;

  constructor(options: EngineWorkerOptions, key: string, upper: string, target: string) {
    this.#options = options;
    this.#key = key;
    this.upper = upper;
    this.#target = target;
  }

  async mount(): Promise<string> {
    if (!this.#mounted) await this.#options.snapshots.mount(this.#key, this.#target, { volatile: true });
    this.#mounted = true;
    return this.#target;
  }

  async unmount(): Promise<void> {
    if (!this.#mounted) return;
    await this.#options.snapshots.unmount(this.#target);
    this.#mounted = false;
    fs.rmSync(this.#target, { recursive: true, force: true });
  }

  async run(spec: RunSpec, signal: AbortSignal): Promise<number> {
    const network = await openNetwork(this.#options, spec);
    try {
      const exit = await this.#options.runOnce(
        {
          id: `${DRAFT_PREFIX}${spec.id.slice(0, 32)}`,
          rootfs: this.#target,
          args: spec.args,
          env: spec.env,
          cwd: spec.cwd,
          mounts: [...network.mounts, ...spec.mounts],
          hostname: "buildkitsandbox",
          privileged: spec.insecure,
          resources: ociResources(spec.resources),
          shmBytes: spec.resources?.shmSizeBytes,
          ulimits: spec.resources?.ulimits,
          cgroupParent: spec.resources?.cgroupParent,
          onOutput: spec.onOutput,
          ...(spec.user === undefined ? {} : { user: spec.user }),
          ...(network.path === undefined ? {} : { network: network.path }),
        },
        signal,
      );
      return exit.code;
    } finally {
      await network.close();
    }
  }

  async commit(options: { clampMtimeMs?: number }): Promise<Layer> {
    const layer = await this.#options.snapshots.commit(this.#key, options);
    this.#committed = true;
    return layer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.unmount();
    if (!this.#committed) await this.#options.snapshots.remove(this.#key);
  }
}

interface RunNetwork {
  readonly path: string | undefined;
  readonly mounts: readonly OciMount[];
  close(): Promise<void>;
}

/** The network stack of a RUN step, with the files that name resolution needs. */
async function openNetwork({ networks, context }: EngineWorkerOptions, spec: RunSpec): Promise<RunNetwork> {
  if (spec.network === "none") return { path: undefined, mounts: [], close: async () => {} };
  const host = spec.network === "host";
  const sandbox = await networks.createSandbox({
    id: spec.id,
    name: `${kernelName(context.instance)}-build-${spec.id.slice(0, 12)}`,
    hostname: "buildkitsandbox",
    extraHosts: spec.extraHosts,
    host,
  });
  const directory = fs.mkdtempSync(path.join(buildPlaces(context).files, "net-"));
  const close = async () => {
    fs.rmSync(directory, { recursive: true, force: true });
    await networks.destroySandbox(spec.id);
  };
  try {
    if (!host) await networks.connect(spec.id, spec.network);
    await networks.settled(spec.id);
    const ready = networks.sandbox(spec.id) ?? sandbox;
    const mounts = [
      ["/etc/hosts", ready.hostsFile],
      ["/etc/resolv.conf", ready.resolvConf],
    ].map(([destination, content]) => {
      const file = path.join(directory, path.basename(destination!));
      fs.writeFileSync(file, content!, { mode: 0o644 });
      return { destination: destination!, type: "bind", source: file, options: ["bind", "ro"] };
    });
    return { path: host ? "host" : ready.netnsPath, mounts, close };
  } catch (error) {
    await close();
    throw error;
  }
}

function ociResources(resources: BuildResources | undefined): OciResources {
  if (!resources) return {};
  const cpu = {
    ...(resources.cpuShares ? { shares: resources.cpuShares } : {}),
    ...(resources.cpuPeriod ? { period: resources.cpuPeriod } : {}),
    ...(resources.cpuQuota ? { quota: resources.cpuQuota } : {}),
    ...(resources.cpusetCpus ? { cpus: resources.cpusetCpus } : {}),
    ...(resources.cpusetMems ? { mems: resources.cpusetMems } : {}),
  };
  const memory = {
    ...(resources.memoryBytes ? { limit: resources.memoryBytes } : {}),
    ...(resources.memorySwapBytes ? { swap: resources.memorySwapBytes } : {}),
  };
  return {
    ...(Object.keys(cpu).length > 0 ? { cpu } : {}),
    ...(Object.keys(memory).length > 0 ? { memory } : {}),
  } as OciResources;
}

const DOCKER_HUB = "https://index.docker.io/v1/";

/** The credentials for the registry that a reference names. */
function authFor(reference: string, all: Readonly<Record<string, RegistryAuth>> | undefined): { auth?: RegistryAuth } {
  if (!all) return {};
  const first = reference.split("/")[0]!;
  const host = reference.includes("/") && (/[.:]/.test(first) || first === "localhost") ? first : "docker.io";
  const auth = host === "docker.io" ? (all[DOCKER_HUB] ?? all["docker.io"]) : (all[host] ?? all[`https://${host}`]);
  return auth ? { auth } : {};
}
