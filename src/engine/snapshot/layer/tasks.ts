import { createHash } from "node:crypto";
import { linkSync, lchownSync, chmodSync, mkdirSync, readdirSync, utimesSync } from "node:fs";
import { open } from "node:fs/promises";
import { Readable } from "node:stream";
import { internal, invalidArgument, resourceExhausted, unavailable } from "../../../base/index.ts";
import { getAttribute, setAttribute } from "../../../host/index.ts";
import { TarParser } from "../../tar/index.ts";
import type { Change, Usage } from "../types.ts";
import { DEFAULT_APPLY_LIMITS, LayerApplier } from "./apply.ts";
import { compressTo, type Compressed } from "./compress.ts";
import { GROWING } from "./growing.ts";
import { decompressor, sniff } from "./decompress.ts";
import { lstat } from "./resolve.ts";
import { changesOf, tarOf, usageOf } from "./walk.ts";

/** What a worker can be asked for. Everything here is synchronous file work or hashing, which must not hold up the daemon's one thread. */
export interface Tasks {
  /** Unpacks a layer blob. With `growing`, the file is still being written: `[bytes there, state]` tell how far one may read. */
  apply(args: { blob: string; root: string; lower: string[]; growing?: Growing }): Applied;
  /** Digest and size of the tar of an overlay directory. */
  digest(args: { root: string; clampMtimeMs?: number }): Applied;
  /** A copy of an overlay directory, made by way of its tar. */
  copy(args: { root: string; target: string; lower: string[]; clampMtimeMs?: number }): Applied;
  /** Gzips the tar of an overlay directory, or a tar file that may itself be packed, into `file`. */
  compress(args: { root?: string; blob?: string; clampMtimeMs?: number; file: string }): Compressed;
  /** Streams the tar of an overlay directory. */
  tar(args: { root: string; clampMtimeMs?: number }): void;
  changes(args: { upper: string; lower: string[] }): Change[];
  usage(args: { root: string }): Usage;
  /** The same tree in another place, files shared by hard links. */
  link(args: { root: string; target: string }): void;
}

export interface Growing {
  /** Where the bytes arrive; when it is gone, they are all at the blob's own place. */
  readonly file: string;
  readonly progress: SharedArrayBuffer;
}

export interface Applied {
  readonly diffId: string;
  /** Bytes of file content. */
  readonly sizeBytes: number;
  /** Bytes of the uncompressed tar. */
  readonly tarBytes: number;
}

export type TaskName = keyof Tasks;

const READ_BYTES = 1 << 18;

export const tasks: {
  [N in TaskName]: (
    args: Parameters<Tasks[N]>[0],
    send: (chunk: Buffer) => Promise<void>,
  ) => Promise<ReturnType<Tasks[N]>> | ReturnType<Tasks[N]>;
} = {
  apply: ({ blob, root, lower, growing }) => applyBlob(blob, root, lower, growing),
  digest: ({ root, clampMtimeMs }) => {
    const hash = createHash("sha256");
    let tarBytes = 0;
    for (const chunk of tarOf(root, { clampMtimeMs })) {
      hash.update(chunk);
      tarBytes += chunk.byteLength;
    }
    return { diffId: `sha256:${hash.digest("hex")}`, sizeBytes: usageOf(root).sizeBytes, tarBytes };
  },
  copy: ({ root, target, lower, clampMtimeMs }) => {
    const sink = new LayerSink(target, lower);
    for (const chunk of tarOf(root, { clampMtimeMs })) sink.write(chunk);
    return sink.finish();
  },
  compress: ({ root, blob, clampMtimeMs, file }) => {
    if (root !== undefined) return compressTo(file, tarOf(root, { clampMtimeMs }));
    if (blob !== undefined) return compressTo(file, unpacked(readBlob(blob)));
    throw internal("compress needs a directory or a blob");
  },
  tar: async ({ root, clampMtimeMs }, send) => {
    for (const piece of joined(tarOf(root, { clampMtimeMs }))) await send(piece);
  },
  changes: ({ upper, lower }) => changesOf(upper, lower),
  usage: ({ root }) => usageOf(root),
  link: ({ root, target }) => linkTree(root, target),
};

/** Hash, parser and applier fed together. */
class LayerSink {
  readonly #hash = createHash("sha256");
  readonly #applier: LayerApplier;
  readonly #parser: TarParser;
  #rawBytes = 0;

  constructor(root: string, lower: readonly string[]) {
    this.#applier = new LayerApplier(root, lower);
    this.#parser = new TarParser(this.#applier);
  }
  write(chunk: Buffer): void {
    this.#rawBytes += chunk.byteLength;
    // Padding behind the archive's end counts too: a bomb may be made of it.
    if (this.#rawBytes > 2 * DEFAULT_APPLY_LIMITS.maxBytes)
      throw resourceExhausted("the layer unpacks to too many bytes");
    this.#hash.update(chunk);
    this.#parser.write(chunk);
  }
  finish(): Applied {
    this.#parser.end();
    this.#applier.finish();
    return {
      diffId: `sha256:${this.#hash.digest("hex")}`,
      sizeBytes: this.#applier.sizeBytes,
      tarBytes: this.#rawBytes,
    };
  }
  abort(): void {
    this.#applier.abort();
  }
}

async function applyBlob(blob: string, root: string, lower: string[], growing: Growing | undefined): Promise<Applied> {
  const sink = new LayerSink(root, lower);
  try {
    for await (const chunk of unpacked(readBlob(blob, growing))) sink.write(chunk);
    return sink.finish();
  } catch (error) {
    sink.abort();
    throw error;
  }
}

async function* readBlob(file: string, growing?: Growing): AsyncGenerator<Buffer> {
  const progress = growing && new BigInt64Array(growing.progress);
  const handle = await (growing ? open(growing.file, "r").catch(() => open(file, "r")) : open(file, "r"));
  try {
    for (let at = 0; ;) {
      const buffer = Buffer.allocUnsafeSlow(READ_BYTES);
      if (progress && !(await waitFor(progress, at))) return;
      const { bytesRead } = await handle.read(buffer, 0, buffer.byteLength, at);
      if (bytesRead === 0) return;
      at += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await handle.close();
  }
}

/** Waits until the writer is past `at`. False when it is done and there is no more. */
async function waitFor(progress: BigInt64Array, at: number): Promise<boolean> {
  for (;;) {
    const there = Atomics.load(progress, 0);
    const state = Atomics.load(progress, 1);
    if (state === GROWING.failed) throw unavailable("the download failed");
    if (there > BigInt(at)) return true;
    if (state === GROWING.done) return false;
    const wait = Atomics.waitAsync(progress, 0, there, 1000);
    if (wait.async) await wait.value;
  }
}

/** The tar inside, whatever it is packed with. */
async function* unpacked(source: AsyncGenerator<Buffer>): AsyncGenerator<Buffer> {
  const first = await source.next();
  if (first.done) throw invalidArgument("the layer is empty");
  const kind = sniff(first.value);
  const all = (async function* () {
    yield first.value;
    yield* source;
  })();
  if (kind === "none") {
    yield* all;
    return;
  }
  const unpack = decompressor(kind);
  const input = Readable.from(all, { objectMode: false, highWaterMark: READ_BYTES });
  input.on("error", (error) => unpack.destroy(error));
  input.pipe(unpack);
  try {
    for await (const chunk of unpack) yield chunk as Buffer;
  } catch (error) {
    const code = (error as { code?: string }).code ?? "";
    if (/^(Z_|ZSTD_|ERR_ZLIB|ERR_ZSTD)/.test(code))
      throw invalidArgument(`the layer's ${kind} data is damaged or truncated`, { cause: error });
    throw error;
  } finally {
    input.destroy();
  }
}

/** Headers of small files are joined into pieces worth a message. */
function* joined(source: Iterable<Buffer>): Generator<Buffer> {
  let held: Buffer[] = [];
  let size = 0;
  for (const chunk of source) {
    held.push(chunk);
    size += chunk.byteLength;
    if (size < READ_BYTES) continue;
    yield Buffer.concat(held);
    held = [];
    size = 0;
  }
  if (size > 0) yield Buffer.concat(held);
}

function linkTree(from: string, to: string): void {
  for (const name of readdirSync(from)) {
    const [source, target] = [`${from}/${name}`, `${to}/${name}`];
    const facts = lstat(source)!;
    if (!facts.isDirectory()) {
      linkSync(source, target);
      continue;
    }
    mkdirSync(target);
    linkTree(source, target);
    lchownSync(target, facts.uid, facts.gid);
    chmodSync(target, facts.mode & 0o7777);
    const opaque = getAttribute(source, "trusted.overlay.opaque");
    if (opaque) setAttribute(target, "trusted.overlay.opaque", opaque);
    utimesSync(target, facts.mtimeMs / 1000, facts.mtimeMs / 1000);
  }
}
