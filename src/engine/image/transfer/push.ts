import { Readable } from "node:stream";
import type { OciDescriptor } from "../../../api/index.ts";
import { hasCode, Semaphore, type Clock } from "../../../base/index.ts";
import type { Digest, FileContentStore } from "../../content/index.ts";
import type { RegistrySession } from "../../registry/index.ts";
import { readGrowing, type ExportOptions, type Growing, type LayerBlob } from "../../snapshot/index.ts";
import { ProgressLine, shortId } from "../progress.ts";
import type { TransferOptions } from "../types.ts";

/** One layer on its way out. */
export interface LayerToPush {
  /** Names its line of progress. */
  readonly id: Digest;
  /** Bytes unpacked, what progress counts against while nobody knows the packed size. */
  readonly tarBytes: number;
  /** The packed form when there is one. */
  readonly ready: LayerBlob | undefined;
  /** Makes the packed form. */
  pack(options: ExportOptions): Promise<LayerBlob>;
}

export interface PushEnvironment {
  readonly content: FileContentStore;
  readonly clock: Clock;
  readonly session: RegistrySession;
  /** Repositories of the same registry that may have the layers already. */
  readonly mountFrom: readonly string[];
}

/** Sends the layers that the registry lacks, side by side, and gives what they are there. */
export async function pushLayers(
  environment: PushEnvironment,
  layers: readonly LayerToPush[],
  options: TransferOptions,
): Promise<LayerBlob[]> {
  const turns = new Semaphore(environment.session.limits.uploads);
  const emit = options.onProgress ?? (() => {});
  const lines = layers.map((layer) => new ProgressLine(emit, environment.clock, shortId(layer.id)));
  for (const line of lines) line.step("Preparing");
  const uploads = new Uploads(environment, options.signal);
  // An image may have the same layer twice (an empty one, mostly): it is sent once.
  const sent = new Map<Digest, Promise<LayerBlob>>();
  const all = layers.map((layer, index) => {
    const key = layer.ready?.digest ?? layer.id;
    const known = sent.get(key) ?? turns.run(() => uploads.layer(layer, lines[index]!), options.signal);
    sent.set(key, known);
    return known;
  });
  const settled = await Promise.allSettled(all);
  const failed = settled.find((each) => each.status === "rejected");
  if (failed) throw failed.reason;
  return Promise.all(all);
}

/** A configuration: there already, or sent. */
export async function pushSmall(
  { content, session }: PushEnvironment,
  descriptor: OciDescriptor,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (await session.hasBlob(descriptor.digest, signal)) return;
  await session.pushBlob(descriptor, () => content.open(descriptor.digest), signal);
}

class Uploads {
  readonly #environment: PushEnvironment;
  readonly #signal: AbortSignal | undefined;

  constructor(environment: PushEnvironment, signal: AbortSignal | undefined) {
    this.#environment = environment;
    this.#signal = signal;
  }

  async layer(layer: LayerToPush, line: ProgressLine): Promise<LayerBlob> {
    if (!layer.ready) return this.#packing(layer, line);
    await this.#whole(layer.ready, line);
    return layer.ready;
  }

  /** Sends while it is packed. When that fails halfway, the rest of the packing is waited for and the whole is sent, as often as need be. */
  async #packing(layer: LayerToPush, line: ProgressLine): Promise<LayerBlob> {
    let streamed: Promise<boolean> | undefined;
    const packed = layer.pack({
      signal: this.#signal,
      onGrowing: (growing) => (streamed = this.#streamed(growing, layer, line, () => packed)),
    });
    try {
      const blob = await packed;
      if (await streamed) line.step("Pushed");
      else await this.#whole(blob, line);
      return blob;
    } finally {
      await streamed;
    }
  }

  /** False when the registry has it not. Never throws. */
  async #streamed(
    growing: Growing,
    layer: LayerToPush,
    line: ProgressLine,
    packed: () => Promise<LayerBlob>,
  ): Promise<boolean> {
    const open = async () =>
      counted(Readable.from(readGrowing(growing), { objectMode: false, highWaterMark: 1 << 18 }), (sent) =>
        line.bytes("Pushing", Math.min(sent, layer.tarBytes), layer.tarBytes),
      );
    try {
      await this.#environment.session.pushGrowing(open, async () => (await packed()).digest, this.#signal);
      return true;
    } catch {
      // The second way has its own error to tell, with as many attempts as it takes.
      return false;
    }
  }

  async #whole(blob: LayerBlob, line: ProgressLine): Promise<void> {
    const { content, session, mountFrom } = this.#environment;
    if (await session.hasBlob(blob.digest, this.#signal)) return line.step("Layer already exists");
    for (const from of mountFrom) if (await this.#mounted(blob.digest, from)) return line.step(`Mounted from ${from}`);
    line.bytes("Pushing", 0, blob.sizeBytes);
    const open = async () =>
      counted(await content.open(blob.digest), (sent) => line.bytes("Pushing", sent, blob.sizeBytes));
    const descriptor = { mediaType: blob.mediaType, digest: blob.digest, size: blob.sizeBytes };
    await session.pushBlob(descriptor, open, this.#signal);
    line.step("Pushed");
  }

  /** A mount that the registry refuses is only a lost shortcut. */
  async #mounted(digest: Digest, from: string): Promise<boolean> {
    try {
      return await this.#environment.session.mountBlob(digest, from, this.#signal);
    } catch (error) {
      if (hasCode(error, "canceled", "unavailable")) throw error;
      return false;
    }
  }
}

/** Tells how much of a stream has been read. */
function counted(body: Readable, onBytes: (sent: number) => void): Readable {
  let sent = 0;
  body.on("data", (chunk: Buffer) => onBytes((sent += chunk.byteLength)));
  body.pause();
  return body;
}
