import { Readable } from "node:stream";
import { invalidArgument } from "../../../base/index.ts";
import { decompressor, sniff } from "./decompress.ts";
import { externalDecompressor } from "./external.ts";

/** `source` unpacked, whatever it is packed with; zlib works on the thread pool. Errors of the source destroy the result. */
export async function openUnpacked(source: Readable): Promise<Readable> {
  const head = await firstBytes(source);
  const kind = sniff(head);
  if (kind === "bzip2" || kind === "xz") return byProgram(kind, source);
  const unpack = decompressor(kind);
  source.on("error", (error) => unpack.destroy(error));
  unpack.on("close", () => source.destroy());
  unpack.on("error", (error: Error & { code?: string }) => {
    if (error.code?.startsWith("Z_")) error.message = `the ${kind} data is damaged or truncated`;
  });
  source.pipe(unpack);
  return unpack;
}

/** `source` unless it is packed with what layers never are (bzip2, xz): a layer's own compressions are left to who unpacks the layer. */
export async function withoutRarePacking(source: Readable): Promise<Readable> {
  const kind = sniff(await firstBytes(source));
  return kind === "bzip2" || kind === "xz" ? byProgram(kind, source) : source;
}

function byProgram(kind: "bzip2" | "xz", source: Readable): Readable {
  return Readable.from(externalDecompressor(kind, source), { objectMode: false, highWaterMark: 1 << 18 });
}

/** The first chunk (at least 6 bytes unless the stream is shorter), put back. */
async function firstBytes(source: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  while (size < 6) {
    const chunk = (await nextChunk(source)) as Buffer | null;
    if (chunk === null) break;
    chunks.push(chunk);
    size += chunk.byteLength;
  }
  if (size === 0) throw invalidArgument("the archive is empty");
  const head = Buffer.concat(chunks);
  if (!source.readableEnded) source.unshift(head);
  return head;
}

function nextChunk(source: Readable): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const settle = (act: () => void) => {
      source.off("readable", onReadable).off("end", onEnd).off("error", onError).off("close", onEnd);
      act();
    };
    const onReadable = () => {
      const chunk: unknown = source.read();
      if (chunk !== null) settle(() => resolve(chunk));
    };
    const onEnd = () => settle(() => resolve(null));
    const onError = (error: Error) => settle(() => reject(error));
    source.on("readable", onReadable).on("end", onEnd).on("error", onError).on("close", onEnd);
    if (source.readableEnded || source.destroyed) onEnd();
    else onReadable();
  });
}
