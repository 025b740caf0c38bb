/** What ADD can and COPY cannot: URLs, and archives that unpack. */
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { Readable } from "node:stream";
import { invalidArgument, messageOf, resourceExhausted, unavailable } from "../../../base/index.ts";
import { exactFs } from "../../../host/index.ts";
import { isNoArchive } from "../../tar/index.ts";
import { compressionOf } from "../context/decompress.ts";
import { fetchGit } from "../context/git.ts";
import { select, type Selected } from "../context/select.ts";
import type { FileTree } from "../context/tree.ts";
import { unpack } from "../context/unpack.ts";
import type { CopyBody } from "../dockerfile/index.ts";
import { MAX_DOWNLOAD_BYTES } from "../limits.ts";
import type { BuildSession } from "./session.ts";

export function isUrl(source: string): boolean {
  return /^https?:\/\//i.test(source);
}

const TAR_MAGIC_OFFSET = 257;

/** A tar archive, or something compressed that could hold one; what is in it shows when it is unpacked. */
export function isArchive(file: string): boolean {
  const head = Buffer.alloc(512);
  const fd = exactFs.open(file, "r");
  try {
    const length = fs.readSync(fd, head, 0, head.length, 0);
    return (
      compressionOf(head.subarray(0, length)) !== "none" ||
      head.toString("latin1", TAR_MAGIC_OFFSET, TAR_MAGIC_OFFSET + 5) === "ustar"
    );
  } finally {
    fs.closeSync(fd);
  }
}

/** The content of an archive, with the owners it says; the file itself when it is compressed but no archive. */
export async function unpackLocal(session: BuildSession, file: Selected): Promise<Selected[]> {
  const root = session.scratchDir();
  const { decompressor } = session.services;
  try {
    const source = exactFs.createReadStream(path.join(file.tree.root, file.source));
    const tree = await unpack(source, root, {
      keepOwner: true,
      signal: session.signal,
      ...(decompressor ? { decompressor } : {}),
    });
    return select(tree, ["."], { where: `the archive ${file.source}` });
  } catch (error) {
    if (isNoArchive(error)) return [file];
    throw error;
  }
}

/** Downloads into a file that the copy takes from; `--checksum` is verified, `--unpack` unpacks. Errors: unavailable, invalidArgument. */
export async function fetchRemote(session: BuildSession, url: string, body: CopyBody): Promise<Selected[]> {
  const baseName = remoteName(url);
  if (!baseName && body.destination.endsWith("/"))
    throw invalidArgument(`cannot determine filename for source ${url}`, {
      hint: "Give a destination that names the file.",
    });
  const root = session.scratchDir();
  const file = path.join(root, "file");
  const { digest, modifiedSeconds } = await download(session, url, file);
  verifyChecksum(url, body.checksum, digest);
  fs.chmodSync(file, 0o600);
  fs.utimesSync(file, modifiedSeconds, modifiedSeconds);
  const tree: FileTree = { root, digests: new Map([["file", digest]]) };
  const selected = { tree, source: "file", target: "", stat: fs.lstatSync(file), baseName: baseName || "file" };
  return body.unpack && isArchive(file) ? await unpackLocal(session, selected) : [selected];
}

function remoteName(url: string): string {
  try {
    return decodeURIComponent(path.posix.basename(new URL(url).pathname)).replaceAll("/", "");
  } catch (error) {
    throw invalidArgument(`not a URL: ${url}`, { cause: error });
  }
}

async function download(
  session: BuildSession,
  url: string,
  file: string,
): Promise<{ digest: string; modifiedSeconds: number }> {
  let response: Response;
  try {
    response = await session.services.fetch(url, { signal: session.signal, redirect: "follow" });
  } catch (error) {
    session.signal.throwIfAborted();
    throw unavailable(`cannot download ${url}: ${messageOf((error as Error).cause ?? error)}`, { cause: error });
  }
  if (!response.ok || !response.body)
    throw unavailable(`cannot download ${url}: the server answered ${response.status} ${response.statusText}`);
  const hash = createHash("sha256");
  let bytes = 0;
  const out = fs.openSync(file, "wx", 0o600);
  try {
    for await (const chunk of Readable.fromWeb(response.body as import("node:stream/web").ReadableStream)) {
      const data = chunk as Buffer;
      bytes += data.length;
      if (bytes > MAX_DOWNLOAD_BYTES) throw resourceExhausted(`${url} is larger than ${MAX_DOWNLOAD_BYTES} bytes`);
      hash.update(data);
      for (let written = 0; written < data.length;) written += fs.writeSync(out, data, written);
    }
  } finally {
    fs.closeSync(out);
  }
  const modified = Date.parse(response.headers.get("last-modified") ?? "");
  return { digest: hash.digest("hex"), modifiedSeconds: Number.isNaN(modified) ? 0 : modified / 1000 };
}

function verifyChecksum(url: string, wanted: string | undefined, digest: string): void {
  if (wanted === undefined) return;
  if (!/^sha256:[0-9a-f]{64}$/.test(wanted))
    throw invalidArgument(`invalid checksum ${JSON.stringify(wanted)}`, {
      hint: "It is written sha256: and 64 hex digits.",
    });
  if (wanted !== `sha256:${digest}`)
    throw invalidArgument(`digest mismatch for ${url}: expected ${wanted}, got sha256:${digest}`);
}

/** A repository's files; they belong to root. */
export async function fetchRepository(session: BuildSession, source: string, body: CopyBody): Promise<Selected[]> {
  const options = { keepGitDir: body.keepGitDir === true, signal: session.signal };
  const root = await fetchGit(source, session.scratchDir(), options);
  return select({ root, digests: new Map() }, ["."], { where: `the repository ${source}`, exclude: body.exclude });
}
