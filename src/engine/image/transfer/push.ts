import type { Readable } from "node:stream";
import type { OciDescriptor, OciManifest } from "../../../api/index.ts";
import { hasCode, Semaphore, type Clock } from "../../../base/index.ts";
import type { FileContentStore } from "../../content/index.ts";
import type { RegistrySession } from "../../registry/index.ts";
import { ProgressLine, shortId } from "../progress.ts";
import type { TransferOptions } from "../types.ts";

/** As dockerd's max-concurrent-uploads. */
const CONCURRENT_UPLOADS = 5;

export interface PushPlan {
  readonly manifest: OciManifest;
  readonly descriptor: OciDescriptor;
  readonly bytes: Buffer;
  readonly tag: string;
  /** Repositories of the same registry that may have the layers already. */
  readonly mountFrom: readonly string[];
}

/** Sends what the registry lacks: layers side by side, then the configuration, then the manifest that names them. */
export async function pushImage(
  content: FileContentStore,
  clock: Clock,
  session: RegistrySession,
  plan: PushPlan,
  options: TransferOptions,
): Promise<void> {
  const turns = new Semaphore(CONCURRENT_UPLOADS);
  const lines = plan.manifest.layers.map(
    (layer) => new ProgressLine(options.onProgress ?? (() => {}), clock, shortId(layer.digest)),
  );
  for (const line of lines) line.step("Preparing");
  const push = new Uploads(content, session, plan.mountFrom, options.signal);
  const unique = new Map(plan.manifest.layers.map((layer, index) => [layer.digest, index]));
  await Promise.all(
    [...unique.values()].map((index) =>
      turns.run(() => push.layer(plan.manifest.layers[index]!, lines[index]!), options.signal),
    ),
  );
  await push.small(plan.manifest.config);
  await session.pushManifest(plan.tag, plan.descriptor.mediaType, plan.bytes, options.signal);
}

class Uploads {
  readonly #content: FileContentStore;
  readonly #session: RegistrySession;
  readonly #mountFrom: readonly string[];
  readonly #signal: AbortSignal | undefined;

  constructor(
    content: FileContentStore,
    session: RegistrySession,
    mountFrom: readonly string[],
    signal: AbortSignal | undefined,
  ) {
    this.#content = content;
    this.#session = session;
    this.#mountFrom = mountFrom;
    this.#signal = signal;
  }

  async layer(layer: OciDescriptor, line: ProgressLine): Promise<void> {
    if (await this.#session.hasBlob(layer.digest, this.#signal)) return line.step("Layer already exists");
    for (const from of this.#mountFrom) if (await this.#mounted(layer, from)) return line.step(`Mounted from ${from}`);
    line.bytes("Pushing", 0, layer.size);
    await this.#session.pushBlob(layer, () => this.#counted(layer, line), this.#signal);
    line.step("Pushed");
  }

  async small(descriptor: OciDescriptor): Promise<void> {
    if (await this.#session.hasBlob(descriptor.digest, this.#signal)) return;
    await this.#session.pushBlob(descriptor, () => this.#content.open(descriptor.digest), this.#signal);
  }

  /** A mount that the registry refuses is only a lost shortcut. */
  async #mounted(layer: OciDescriptor, from: string): Promise<boolean> {
    try {
      return await this.#session.mountBlob(layer.digest, from, this.#signal);
    } catch (error) {
      if (hasCode(error, "canceled", "unavailable")) throw error;
      return false;
    }
  }

  async #counted(layer: OciDescriptor, line: ProgressLine): Promise<Readable> {
    const body = await this.#content.open(layer.digest);
    let sent = 0;
    body.on("data", (chunk: Buffer) => line.bytes("Pushing", (sent += chunk.byteLength), layer.size));
    body.pause();
    return body;
  }
}
