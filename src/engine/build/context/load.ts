/** A build's context: the tar stream that came with the request, or what `remote` names; and the Dockerfile in it. */
import fs from "node:fs";
import path from "node:path";
import { Readable } from "node:stream";
import { invalidArgument, MAX_SMALL_FILE_BYTES, messageOf, unavailable } from "../../../base/index.ts";
import { fetchGit, isGit } from "./git.ts";
import { nearest } from "../dockerfile/index.ts";
import type { ExternalDecompressor } from "../../snapshot/index.ts";
import type { KnownFiles } from "./known.ts";
import { ignoreMatcher, readIgnoreFile } from "./patterns.ts";
import { readTreeText, type FileTree } from "./tree.ts";
import { unpack } from "./unpack.ts";

export interface LoadOptions {
  readonly context?: AsyncIterable<Uint8Array>;
  readonly remote?: string;
  readonly dockerfile: string;
  readonly directory: string;
  readonly known: KnownFiles;
  readonly decompressor?: ExternalDecompressor;
  readonly fetch: typeof globalThis.fetch;
  readonly signal: AbortSignal;
}

export interface LoadedContext {
  /** Without what .dockerignore excludes. */
  readonly tree: FileTree;
  readonly dockerfileText: string;
  readonly dockerfileName: string;
}

/** Errors: invalidArgument for a broken archive or a missing Dockerfile, unavailable for a remote that doesn't answer. */
export async function loadContext(options: LoadOptions): Promise<LoadedContext> {
  fs.mkdirSync(options.directory, { recursive: true, mode: 0o700 });
  const { remote, directory, signal, decompressor } = options;
  if (remote && isGit(remote)) {
    const root = await fetchGit(remote, directory, { keepGitDir: false, signal });
    return withIgnored({ root, digests: new Map() }, options.dockerfile);
  }
  const source = remote ? await openRemote(options, remote) : options.context;
  if (typeof source === "string") {
    fs.writeFileSync(path.join(directory, "Dockerfile"), source);
    return withIgnored({ root: directory, digests: new Map() }, "Dockerfile");
  }
  if (!source)
    throw invalidArgument("a build needs a context: a tar archive as the request's body, or the remote parameter");
  const tree = await unpack(source, directory, {
    signal,
    known: options.known,
    ...(decompressor ? { decompressor } : {}),
  });
  return withIgnored(tree, options.dockerfile);
}

function withIgnored(tree: FileTree, dockerfile: string): LoadedContext {
  const name = dockerfile.replace(/^(?:\.?\/)+/, "") || "Dockerfile";
  const text = readTreeText(tree, name, MAX_SMALL_FILE_BYTES);
  if (text === undefined) throw missingDockerfile(tree, name);
  const ignore =
    readTreeText(tree, `${name}.dockerignore`, MAX_SMALL_FILE_BYTES) ??
    readTreeText(tree, ".dockerignore", MAX_SMALL_FILE_BYTES);
  const lines = ignore === undefined ? [] : readIgnoreFile(ignore);
  const visible = lines.length === 0 ? tree : { ...tree, ignored: ignoreMatcher(lines) };
  return { tree: visible, dockerfileText: text, dockerfileName: name };
}

function missingDockerfile(tree: FileTree, name: string) {
  const directory = path.posix.dirname(name);
  let names: string[] = [];
  try {
    names = fs.readdirSync(path.join(tree.root, directory));
  } catch {
    // The directory isn't there either.
  }
  const meant = nearest(path.posix.basename(name), names);
  return invalidArgument(
    `Cannot locate specified Dockerfile: ${name}`,
    meant ? { hint: `Did you mean ${meant}?` } : {},
  );
}

/** A tar stream, or the text of a Dockerfile. */
async function openRemote(options: LoadOptions, remote: string): Promise<AsyncIterable<Uint8Array> | string> {
  if (!/^https?:\/\//.test(remote)) throw invalidArgument(`not a build context: ${remote}`);
  let response: Response;
  try {
    response = await options.fetch(remote, { signal: options.signal });
  } catch (error) {
    options.signal.throwIfAborted();
    throw unavailable(`cannot download the build context ${remote}: ${messageOf((error as Error).cause ?? error)}`, {
      cause: error,
    });
  }
  if (!response.ok || !response.body)
    throw unavailable(`cannot download the build context ${remote}: the server answered ${response.status}`);
  if (!response.headers.get("content-type")?.startsWith("text/plain"))
    return Readable.fromWeb(response.body as import("node:stream/web").ReadableStream);
  const text = await response.text();
  if (text.length > MAX_SMALL_FILE_BYTES) throw invalidArgument(`${remote} is larger than a Dockerfile may be`);
  return text;
}
