import type { Readable } from "node:stream";
import type { OciDescriptor } from "../../api/index.ts";
import { hasCode } from "../../base/index.ts";
import type { Digest, FileContentStore } from "../content/index.ts";
import type { FetchedManifest, RegistrySession } from "../registry/index.ts";
import type { Layer, LayerBlob, OverlaySnapshotStore } from "../snapshot/index.ts";
import type { ArtifactPlace, PackedLayer } from "./types.ts";

/** One name in a registry as a place for a manifest and the blobs it speaks of. */
export class RegistryArtifacts implements ArtifactPlace {
  readonly #session: RegistrySession;
  readonly #name: string;
  readonly #signal: AbortSignal | undefined;

  constructor(session: RegistrySession, name: string, signal: AbortSignal | undefined) {
    this.#session = session;
    this.#name = name;
    this.#signal = signal;
  }

  async manifest(): Promise<FetchedManifest | undefined> {
    try {
      return await this.#session.manifest(this.#name, this.#signal);
    } catch (error) {
      if (hasCode(error, "notFound")) return undefined;
      throw error;
    }
  }

  blob(digest: Digest): Promise<Readable> {
    return this.#session.blob(digest, this.#signal);
  }

  async putBlob(descriptor: OciDescriptor, open: () => Promise<Readable>): Promise<void> {
    if (await this.#session.hasBlob(descriptor.digest, this.#signal)) return;
    await this.#session.pushBlob(descriptor, open, this.#signal);
  }

  putManifest(mediaType: string, bytes: Buffer): Promise<void> {
    return this.#session.pushManifest(this.#name, mediaType, bytes, this.#signal);
  }
}

/** A layer in the form in which it travels. */
export async function exportLayer(
  content: FileContentStore,
  snapshots: OverlaySnapshotStore,
  chainId: Digest,
  signal: AbortSignal | undefined,
): Promise<PackedLayer> {
  const { diffId } = snapshots.layer(chainId)!;
  const blob = await snapshots.exportBlob(chainId, { signal });
  return { ...blob, diffId, open: () => content.open(blob.digest) };
}

/** Takes a layer in, verified twice: the blob as it arrives, the layer as it is unpacked. The caller holds a lease. */
export async function importLayer(
  content: FileContentStore,
  snapshots: OverlaySnapshotStore,
  parent: Digest | undefined,
  packed: LayerBlob & { diffId: Digest },
  source: () => Promise<Readable>,
  signal: AbortSignal | undefined,
): Promise<Layer> {
  const { diffId, ...blob } = packed;
  if (content.has(blob.digest)) content.leases.touch(blob.digest);
  else
    await content.ingest(await source(), {
      expectedDigest: blob.digest,
      expectedSizeBytes: blob.sizeBytes,
      signal,
    });
  return snapshots.applyBlob(parent, blob, { diffId, signal });
}
