import { createHash } from "node:crypto";
import { createReadStream, linkSync, lchownSync, chmodSync, mkdirSync, readdirSync, utimesSync } from "node:fs";
import { Readable } from "node:stream";
import { internal, invalidArgument, resourceExhausted } from "../../../base/index.ts";
import { getAttribute, setAttribute } from "../../../host/index.ts";
import { TarParser } from "../../tar/index.ts";
import type { Change, Usage } from "../types.ts";
import { DEFAULT_APPLY_LIMITS, LayerApplier } from "./apply.ts";
import { compressTo, type Compressed } from "./compress.ts";
import { GrowingFile, readGrowing, type Growing } from "./growing.ts";
import { decompressor, sniff } from "./decompress.ts";
import { lstat } from "./resolve.ts";
import { changesOf, tarOf, usageOf } from "./walk.ts";

/** What a worker can be asked for. Everything here is synchronous file work or hashing, which must not hold up the daemon's one thread. */
export interface Tasks {
  /** Unpacks a layer blob. With `growing`, it is still arriving. */
  apply(args: { blob: string; root: string; lower: string[]; growing?: Growing }): Applied;
  /** Digest and size of the tar of an overlay directory. */
  digest(args: { root: string; clampMtimeMs?: number }): Applied;
  /** A copy of an overlay directory, made by way of its tar. */
  copy(args: { root: string; target: string; lower: string[]; clampMtimeMs?: number }): Applied;
  /** Gzips the tar of an overlay directory, or a tar file that may itself be packed, into `growing`. */
  compress(args: { root?: string; blob?: string; clampMtimeMs?: number; growing: Growing }): Compressed;
  /** Streams the tar of an overlay directory. */
  tar(args: { root: string; clampMtimeMs?: number }): void;
  changes(args: { upper: string; lower: string[] }): Change[];
  usage(args: { root: string }): Usage;
  /** The same tree in another place, files shared by hard links. */
  link(args: { root: string; target: string }): void;
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
    send: (chunk: Uint8Array<ArrayBuffer>) => Promise<void>,
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
  compress: async ({ root, blob, clampMtimeMs, growing }) => {
    const file = new GrowingFile(growing.file, growing.progress);
    try {
      const made = await compressTo(growing.file, sourceOf(root, blob, clampMtimeMs), (bytes) => file.reached(bytes));
      file.done(made.sizeBytes);
      return made;
    } catch (error) {
      file.failed();
      throw error;
    }
  },
  tar: async ({ root, clampMtimeMs }, send) => {
    for (const piece of joined(tarOf(root, { clampMtimeMs }))) await send(piece);
  },
  changes: ({ upper, lower }) => changesOf(upper, lower),
  usage: ({ root }) => usageOf(root),
  link: ({ root, target }) => linkTree(root, target),
};

function sourceOf(root: string | undefined, blob: string | undefined, clampMtimeMs: number | undefined) {
  if (root !== undefined) return tarOf(root, { clampMtimeMs });
  if (blob !== undefined) return unpacked(readBlob(blob));
  throw internal("compress needs a directory or a blob");
}

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
  if (growing) return yield* readGrowing(growing, file);
  for await (const chunk of createReadStream(file, { highWaterMark: READ_BYTES })) yield chunk as Buffer;
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

/** Headers and small files are joined into pieces worth a message; each piece is memory of its own, which moves to the other thread. */
function* joined(source: Iterable<Buffer>): Generator<Uint8Array<ArrayBuffer>> {
  let piece = new Uint8Array(READ_BYTES);
  let filled = 0;
  for (const chunk of source) {
    for (let at = 0; at < chunk.byteLength;) {
      const copied = chunk.copy(piece, filled, at);
      at += copied;
      filled += copied;
      if (filled < READ_BYTES) continue;
      yield piece;
      piece = new Uint8Array(READ_BYTES);
      filled = 0;
    }
  }
  if (filled > 0) yield piece.slice(0, filled);
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
