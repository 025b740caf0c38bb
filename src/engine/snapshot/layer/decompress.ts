import { PassThrough, type Transform } from "node:stream";
import { createGunzip, createZstdDecompress } from "node:zlib";
import { invalidArgument } from "../../../base/index.ts";

export type Compression = "none" | "gzip" | "zstd" | "bzip2" | "xz";

/** What the first bytes say; media types are often wrong. At least 6 bytes are needed. */
export function sniff(head: Buffer): Compression {
  if (head[0] === 0x1f && head[1] === 0x8b) return "gzip";
  if (head.length >= 4 && head.readUInt32LE(0) === 0xfd2fb528) return "zstd";
  // A skippable zstd frame (eStargz' zstd form and pzstd begin with one).
  if (head.length >= 4 && (head.readUInt32LE(0) & 0xfffffff0) >>> 0 === 0x184d2a50) return "zstd";
  if (head.toString("latin1", 0, 3) === "BZh") return "bzip2";
  if (head.toString("latin1", 0, 6) === "\xfd7zXZ\0") return "xz";
  return "none";
}

/** A stream that unpacks. bzip2 and xz are for programs of the host (`external.ts`); a layer packed with them is refused. */
export function decompressor(kind: Compression): Transform {
  switch (kind) {
    case "none":
      return new PassThrough({ highWaterMark: 1 << 18 });
    case "gzip":
      return createGunzip({ chunkSize: 1 << 18 });
    case "zstd":
      return createZstdDecompress({ chunkSize: 1 << 18 });
    default:
      throw invalidArgument(`the layer is packed with ${kind}, which no registry's layers are`, {
        hint: "the image specification knows gzip and zstd",
      });
  }
}
