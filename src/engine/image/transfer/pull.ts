import type { OciDescriptor, OciManifest } from "../../../api/index.ts";
import { invalidArgument, notFound, Semaphore, type Clock, type KeyedMutex } from "../../../base/index.ts";
import type { Digest, FileContentStore } from "../../content/index.ts";
import type { RegistrySession } from "../../registry/index.ts";
import { chainIdsOf, type OverlaySnapshotStore } from "../../snapshot/index.ts";
import { isIndexType, isManifestType, parseConfig, parseIndex, parseManifest, platformOf } from "../manifest.ts";
import { choosePlatform, hostPlatform, platformScore, platformText } from "../platform.ts";
import { ProgressLine, shortId } from "../progress.ts";
import { familiarName, familiarRepository, type Reference } from "../reference.ts";
import type { OnProgress, TransferOptions } from "../types.ts";
import { startDownload, type Download } from "./download.ts";

const MAX_CONFIG_BYTES = 8 * 2 ** 20;

export interface PullEnvironment {
  readonly content: FileContentStore;
  readonly snapshots: OverlaySnapshotStore;
  readonly clock: Clock;
  /** Two pulls that want the same blob take turns; the second finds it there. */
  readonly blobs: KeyedMutex;
}

export interface Pulled {
  readonly imageId: Digest;
  readonly manifest: OciDescriptor;
  /** What the name stands for in the registry: the index, or the manifest itself. */
  readonly target: Digest;
  /** The index, when the name stands for one; kept in the content store. */
  readonly index: Digest | undefined;
}

/** Fetches an image's manifest, configuration and layers into the stores. Nothing names it yet. The caller holds a lease. */
export async function pullImage(
  environment: PullEnvironment,
  session: RegistrySession,
  reference: Reference,
  options: TransferOptions,
): Promise<Pulled> {
  const emit: OnProgress = options.onProgress ?? (() => {});
  emit({ status: `Pulling from ${reference.path}`, id: reference.tag ?? reference.digest });
  const { manifest, descriptor, target, index } = await resolveManifest(environment, session, reference, options);
  const config = await fetchSmall(environment, session, manifest.config, options.signal);
  const diffIds = parseConfig(config, manifest.layers.length).rootfs.diff_ids;
  checkPlatform(config, manifest.layers.length, reference, options);
  await pullLayers(environment, session, manifest, diffIds, options);
  emit({ status: `Digest: ${target}` });
  return { imageId: manifest.config.digest, manifest: descriptor, target, index };
}

function checkPlatform(config: Buffer, layerCount: number, reference: Reference, options: TransferOptions): void {
  if (!options.platform) return;
  const offered = platformOf(parseConfig(config, layerCount));
  if (platformScore(options.platform, offered) === undefined)
    throw notFound(
      `image with reference ${familiarName(reference)} was found but its platform (${platformText(offered)}) does not match the specified platform (${platformText(options.platform)})`,
    );
}

async function resolveManifest(
  { content }: PullEnvironment,
  session: RegistrySession,
  reference: Reference,
  options: TransferOptions,
): Promise<{ manifest: OciManifest; descriptor: OciDescriptor; target: Digest; index: Digest | undefined }> {
  let fetched = await session.manifest(reference.digest ?? reference.tag!, options.signal);
  const target = fetched.descriptor.digest;
  const index = isIndexType(fetched.descriptor.mediaType) ? target : undefined;
  if (index !== undefined) {
    await content.write(fetched.bytes);
    const wanted = options.platform ?? hostPlatform();
    const chosen = choosePlatform(parseIndex(fetched.bytes).manifests, wanted);
    if (!chosen)
      throw notFound(
        `no matching manifest for ${platformText(wanted)} in the manifest list entries of ${familiarRepository(reference)}`,
      );
    fetched = await session.manifest(chosen.digest, options.signal);
  }
  if (!isManifestType(fetched.descriptor.mediaType))
    throw invalidArgument(
      `${familiarName(reference)} is no image: its manifest has type ${fetched.descriptor.mediaType}`,
    );
  await content.write(fetched.bytes);
  return { manifest: parseManifest(fetched.bytes), descriptor: fetched.descriptor, target, index };
}

async function fetchSmall(
  environment: PullEnvironment,
  session: RegistrySession,
  descriptor: OciDescriptor,
  signal: AbortSignal | undefined,
): Promise<Buffer> {
  const { content, blobs } = environment;
  if (descriptor.size > MAX_CONFIG_BYTES)
    throw invalidArgument(`the image configuration has ${descriptor.size} bytes, more than ${MAX_CONFIG_BYTES}`);
  await blobs.run(descriptor.digest, async () => {
    if (content.has(descriptor.digest)) return content.leases.touch(descriptor.digest);
    await content.ingest(await session.blob(descriptor.digest, signal), {
      expectedDigest: descriptor.digest,
      expectedSizeBytes: descriptor.size,
      signal,
    });
  });
  return content.read(descriptor.digest);
}

/** Layers arrive side by side and are unpacked in order, each while it still arrives when it is its turn. */
async function pullLayers(
  environment: PullEnvironment,
  session: RegistrySession,
  manifest: OciManifest,
  diffIds: readonly Digest[],
  options: TransferOptions,
): Promise<void> {
  const { snapshots, clock, content } = environment;
  const chainIds = chainIdsOf(diffIds);
  const lines = manifest.layers.map(
    (layer) => new ProgressLine(options.onProgress ?? (() => {}), clock, shortId(layer.digest)),
  );
  const have = chainIds.map((chainId) => snapshots.layer(chainId) !== undefined);
  have.forEach((there, index) => lines[index]!.step(there ? "Already exists" : "Pulling fs layer"));
  for (const [index, chainId] of chainIds.entries()) if (have[index]) content.leases.touch(chainId);
  await using transfers = new Transfers(environment, session, options.signal);
  const downloads = manifest.layers.map((layer, index) =>
    have[index] ? undefined : transfers.start(layer, lines[index]!),
  );
  for (const [index, layer] of manifest.layers.entries()) {
    const download = await downloads[index];
    if (!download) continue;
    const line = lines[index]!;
    const blob = { digest: layer.digest, sizeBytes: layer.size, mediaType: layer.mediaType };
    await snapshots.applyBlob(chainIds[index - 1], blob, {
      diffId: diffIds[index],
      signal: transfers.signal,
      growing: download.growing,
    });
    await download.done;
    line.bytes("Extracting", layer.size, layer.size);
    line.step("Pull complete");
  }
}

/** The downloads of one pull. When the pull fails they are all stopped, and waited for. */
class Transfers implements AsyncDisposable {
  readonly #environment: PullEnvironment;
  readonly #session: RegistrySession;
  readonly #abort = new AbortController();
  readonly #turns: Semaphore;
  readonly #running: Promise<unknown>[] = [];
  readonly signal: AbortSignal;

  constructor(environment: PullEnvironment, session: RegistrySession, signal: AbortSignal | undefined) {
    this.#environment = environment;
    this.#session = session;
    this.#turns = new Semaphore(session.limits.downloads);
    this.signal = signal ? AbortSignal.any([signal, this.#abort.signal]) : this.#abort.signal;
  }

  /** Resolves when the transfer has begun. */
  start(layer: OciDescriptor, line: ProgressLine): Promise<Download> {
    const begun = Promise.withResolvers<Download>();
    begun.promise.catch(() => {});
    const run = this.#turns.run(
      () => this.#environment.blobs.run(layer.digest, () => this.#transfer(layer, line, begun.resolve)),
      this.signal,
    );
    run.catch(begun.reject);
    this.#running.push(run.catch(() => {}));
    return begun.promise;
  }

  async #transfer(layer: OciDescriptor, line: ProgressLine, begun: (download: Download) => void): Promise<void> {
    const download = await startDownload(layer, {
      content: this.#environment.content,
      session: this.#session,
      signal: this.signal,
      onBytes: (current) => line.bytes("Downloading", current, layer.size),
    });
    begun(download);
    await download.done;
    line.step("Verifying Checksum");
    line.step("Download complete");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort();
    await Promise.all(this.#running);
  }
}
