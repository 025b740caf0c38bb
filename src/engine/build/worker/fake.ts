/** A worker without a kernel: root filesystems are plain directories, copied whole for each layer; commands are functions. For tests. */
import { createHash, randomUUID } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { Readable } from "node:stream";
import type { OciImageConfig } from "../../../api/index.ts";
import { notFound } from "../../../base/index.ts";
import type { PackedLayer } from "../../image/index.ts";
import type { Layer, Platform } from "../types.ts";
import type {
  BaseImage,
  Draft,
  PublishRequest,
  ResolveOptions,
  RunSpec,
  TravelingLayer,
  View,
  Worker,
} from "./worker.ts";

/** What a fake RUN does; answers with its exit code. */
export type FakeCommand = (spec: RunSpec, root: string, signal: AbortSignal) => number | Promise<number>;

export class FakeWorker implements Worker {
  readonly platform: Platform = { os: "linux", architecture: "amd64" };
  readonly scratchDir: string;
  readonly volatileDir: string;
  readonly images = new Map<string, BaseImage>();
  readonly published: PublishRequest[] = [];
  readonly pulls: string[] = [];
  readonly kept = new Set<string>();
  /** Drafts and views that are open: none may be after a build. */
  open = 0;
  command: FakeCommand = () => 0;
  /** Blobs that were unpacked. */
  readonly fetched: string[] = [];
  readonly #layers = new Map<string, Layer & { root: string; parent: string | undefined }>();
  readonly #root: string;

  constructor(root: string) {
    this.#root = root;
    this.scratchDir = path.join(root, "scratch");
    this.volatileDir = path.join(root, "volatile");
    fs.mkdirSync(path.join(root, "layers"), { recursive: true });
  }

  /** An image whose root filesystem has these files. */
  addImage(name: string, files: Record<string, string> = {}, config: Partial<OciImageConfig> = {}): void {
    const root = this.#directory();
    for (const [file, content] of Object.entries(files)) {
      fs.mkdirSync(path.dirname(path.join(root, file)), { recursive: true });
      fs.writeFileSync(path.join(root, file), content);
    }
    const layer = this.#store(root, undefined);
    this.images.set(name, {
      id: `sha256:${sha(name)}`,
      chainId: layer.chainId,
      config: {
        architecture: "amd64",
        os: "linux",
        created: "2025-01-01T00:00:00Z",
        config: {},
        rootfs: { type: "layers", diff_ids: [layer.diffId] },
        ...config,
      },
    });
  }

  rootOf(chainId: string | undefined): string {
    return this.#layers.get(chainId ?? "")!.root;
  }

  async image(reference: string, options: ResolveOptions): Promise<BaseImage> {
    if (options.pull) this.pulls.push(reference);
    const image = this.images.get(reference);
    if (!image)
      throw notFound(`pull access denied for ${reference}, repository does not exist or may require 'docker login'`);
    return image;
  }

  layer(chainId: string): Layer | undefined {
    return this.#layers.get(chainId);
  }

  async view(chainId: string | undefined): Promise<View> {
    this.open++;
    const root = chainId === undefined ? this.#directory() : this.rootOf(chainId);
    return { root, [Symbol.asyncDispose]: async () => void this.open-- };
  }

  async begin(parent: string | undefined): Promise<Draft> {
    this.open++;
    const root = this.#directory();
    const upper = this.#directory();
    if (parent !== undefined)
      fs.cpSync(this.rootOf(parent), root, { recursive: true, preserveTimestamps: true, verbatimSymlinks: true });
    return {
      upper,
      mount: async () => root,
      unmount: async () => {},
      run: async (spec, signal) => await this.command(spec, root, signal),
      commit: async () => {
        fs.cpSync(upper, root, { recursive: true, preserveTimestamps: true, verbatimSymlinks: true });
        return this.#store(root, parent);
      },
      [Symbol.asyncDispose]: async () => void this.open--,
    };
  }

  async restack(layer: Layer, parent: string | undefined): Promise<Layer> {
    const root = this.#directory();
    if (parent !== undefined) fs.cpSync(this.rootOf(parent), root, { recursive: true });
    fs.cpSync(this.rootOf(layer.chainId), root, { recursive: true });
    return this.#store(root, parent);
  }

  chain(chainId: string): readonly Layer[] {
    const layer = this.#layers.get(chainId)!;
    return [...(layer.parent === undefined ? [] : this.chain(layer.parent)), layer];
  }

  /** Here a layer travels with all that is below it, as a list of files. */
  async pack(chainId: string): Promise<PackedLayer> {
    const root = this.rootOf(chainId);
    const names = fs.readdirSync(root, { recursive: true, encoding: "utf8" });
    const files = names.filter((name) => fs.lstatSync(path.join(root, name)).isFile());
    const bytes = Buffer.from(
      JSON.stringify(files.map((name) => [name, fs.readFileSync(path.join(root, name), "utf8")])),
    );
    return {
      digest: `sha256:${sha(bytes.toString())}`,
      sizeBytes: bytes.length,
      mediaType: "application/json",
      diffId: this.layer(chainId)!.diffId,
      open: async () => Readable.from([bytes]),
    };
  }

  async unpack(parent: string | undefined, packed: TravelingLayer, source: () => Promise<Readable>): Promise<Layer> {
    this.fetched.push(packed.digest);
    const root = this.#directory();
    const text = Buffer.concat(await (await source()).toArray()).toString();
    for (const [name, content] of JSON.parse(text) as [string, string][]) {
      fs.mkdirSync(path.dirname(path.join(root, name)), { recursive: true });
      fs.writeFileSync(path.join(root, name), content);
    }
    return this.#store(root, parent);
  }

  artifacts(): never {
    throw notFound("a fake has no registry");
  }

  async publish(request: PublishRequest) {
    this.published.push(request);
    return { id: `sha256:${sha(JSON.stringify([request.config, request.chainId]))}`, tags: request.tags };
  }

  keep(chainId: string): void {
    this.kept.add(chainId);
  }

  async forget(chainIds: readonly string[]): Promise<number> {
    let freed = 0;
    for (const chainId of chainIds) {
      freed += this.#layers.get(chainId)?.sizeBytes ?? 0;
      this.#layers.delete(chainId);
      this.kept.delete(chainId);
    }
    return freed;
  }

  #directory(): string {
    const directory = path.join(this.#root, "layers", randomUUID());
    fs.mkdirSync(directory);
    return directory;
  }

  #store(root: string, parent: string | undefined): Layer {
    const entries = fs.readdirSync(root, { recursive: true, encoding: "utf8" }).sort();
    const facts = entries.map((name) => {
      const stat = fs.lstatSync(path.join(root, name));
      return [name, stat.mode, stat.isFile() ? fs.readFileSync(path.join(root, name), "utf8") : ""];
    });
    const diffId = `sha256:${sha(JSON.stringify(facts))}`;
    const layer = { diffId, chainId: `sha256:${sha(`${parent} ${diffId}`)}`, sizeBytes: entries.length, root, parent };
    this.#layers.set(layer.chainId, layer);
    return layer;
  }
}

function sha(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
