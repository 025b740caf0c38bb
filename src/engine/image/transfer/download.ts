import type { OciDescriptor } from "../../../api/index.ts";
import { hasCode, unavailable } from "../../../base/index.ts";
import type { FileContentStore, FileUpload } from "../../content/index.ts";
import type { RegistrySession } from "../../registry/index.ts";
import { GrowingFile, type ApplyOptions } from "../../snapshot/index.ts";

export interface Download {
  /** What lets a layer be unpacked while it arrives; undefined when the blob is there already. */
  readonly growing: ApplyOptions["growing"];
  /** Resolves when the blob is verified and in the store. */
  readonly done: Promise<void>;
}

export interface DownloadOptions {
  readonly content: FileContentStore;
  readonly session: RegistrySession;
  readonly signal: AbortSignal;
  readonly onBytes?: (current: number) => void;
}

/** A connection may break this often in one blob, as long as it brings something each time. */
const RESUMES = 8;

/**
 * Starts to fetch a blob. What an earlier attempt left is not fetched again, also after a restart of the daemon; a connection that breaks
 * is resumed where it broke. The digest is computed while the bytes pass.
 */
export async function startDownload(descriptor: OciDescriptor, options: DownloadOptions): Promise<Download> {
  const { content } = options;
  if (content.has(descriptor.digest)) {
    content.leases.touch(descriptor.digest);
    return { growing: undefined, done: Promise.resolve() };
  }
  const upload = await content.openUpload(`pull ${descriptor.digest}`);
  const file = new GrowingFile(upload.file);
  file.reached(upload.offset);
  const done = fetchAll(descriptor, upload, options, (bytes) => file.reached(bytes)).then(
    () => file.done(descriptor.size),
    (error: unknown) => {
      file.failed();
      throw error;
    },
  );
  done.catch(() => {});
  return { growing: { ...file.growing, verified: done }, done };
}

async function fetchAll(
  descriptor: OciDescriptor,
  upload: FileUpload,
  options: DownloadOptions,
  tell: (bytes: number) => void,
): Promise<void> {
  const { session, signal, onBytes } = options;
  try {
    for (let resumed = 0; upload.offset < descriptor.size; resumed++) {
      const before = upload.offset;
      try {
        await fetchOnce(descriptor, upload, session, signal, (bytes) => {
          tell(bytes);
          onBytes?.(bytes);
        });
      } catch (error) {
        const broke = hasCode(error, "unavailable") && upload.offset > before && resumed < RESUMES;
        if (!broke || signal.aborted) throw error;
      }
    }
  } catch (error) {
    // What filled the disk is no start of a later attempt.
    await (hasCode(error, "resourceExhausted") ? upload.abandon() : upload.suspend());
    throw error;
  }
  await upload.commit({ digest: descriptor.digest, sizeBytes: descriptor.size });
}

async function fetchOnce(
  descriptor: OciDescriptor,
  upload: FileUpload,
  session: RegistrySession,
  signal: AbortSignal,
  tell: (bytes: number) => void,
): Promise<void> {
  const { body, from } = await session.largeBlob(descriptor.digest, upload.offset, signal);
  // A server that can't resume sends everything again: what we have is skipped.
  let skip = upload.offset - from;
  try {
    for await (let chunk of body) {
      if (skip > 0) {
        const dropped = Math.min(skip, chunk.byteLength);
        skip -= dropped;
        chunk = chunk.subarray(dropped);
      }
      if (chunk.byteLength === 0) continue;
      if (upload.offset + chunk.byteLength > descriptor.size) break;
      await upload.append(chunk);
      tell(upload.offset);
    }
  } catch (error) {
    if (signal.aborted || hasCode(error, "resourceExhausted")) throw error;
    throw unavailable(`the connection broke while fetching ${descriptor.digest}`, { cause: error });
  } finally {
    body.destroy();
  }
  if (upload.offset < descriptor.size)
    throw unavailable(`the registry sent ${upload.offset} of ${descriptor.size} bytes of ${descriptor.digest}`);
}
