import type { IncomingMessage, ServerResponse } from "node:http";
import { pipeline } from "node:stream/promises";
import { MEDIA, type OciIndex } from "../../../api/index.ts";
import { hasCode, type InstanceContext } from "../../../base/index.ts";
import { digestOf, isDigest, type Digest, type FileContentStore } from "../../content/index.ts";
import { isIndexType, isManifestType, parseIndex, parseManifest } from "../../image/manifest.ts";
import { readBody } from "../body.ts";
import { Refusal, sendBytes, sendEmpty, sendError, sendJson } from "./answer.ts";
import { Repositories, type ManifestRecord } from "./repositories.ts";
import { Uploads } from "./uploads.ts";

/** The images of the machine as the registry sees them: what isn't pushed here but built or pulled is served all the same. */
export interface LocalImages {
  /** By name, `library/busybox:latest`; made on demand. An index when all of it is here, or with `partial` whatever of it is. */
  manifestFor(name: string, options?: { partial?: boolean }): Promise<LocalManifest | undefined>;
  /** Whether some image here is, or is part of, this manifest or index. */
  hasManifest(digest: Digest): boolean;
  addRoots(roots: () => { blobs?: Iterable<Digest> }): void;
  /** With a pull-through cache: fetches what isn't there from where the name says. */
  pull?(name: string): Promise<unknown>;
}

export interface LocalManifest {
  readonly digest: Digest;
  readonly bytes: Buffer;
  readonly mediaType: string;
  /** Whether it came from a registry under this name. */
  readonly pulled: boolean;
}

export interface RegistryServerOptions {
  readonly context: InstanceContext;
  readonly content: FileContentStore;
  readonly images: LocalImages;
  /** Serve Docker Hub's images (or its mirrors'), keeping them: a mirror for the machines around. */
  readonly pullThrough?: boolean;
}

const NAME = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;
const TAG = /^\w[\w.-]{0,127}$/;
const MAX_MANIFEST_BYTES = 4 * 2 ** 20;
const DEFAULT_PAGE = 100;
const MAX_PAGE = 1000;

/** A registry by the OCI distribution specification v1.1 over the content store that images use. Requests go to `handle`. */
export class RegistryServer {
  readonly #options: RegistryServerOptions;
  readonly #repositories: Repositories;
  readonly #uploads: Uploads;

  private constructor(options: RegistryServerOptions, repositories: Repositories) {
    this.#options = options;
    this.#repositories = repositories;
    this.#uploads = new Uploads(options.content, options.context);
    options.images.addRoots(() => ({ blobs: repositories.roots() }));
  }

  static async open(options: RegistryServerOptions): Promise<RegistryServer> {
    return new RegistryServer(options, await Repositories.open(options.context.dataDir));
  }

  close(): Promise<void> {
    return this.#uploads.close();
  }

  handle(request: IncomingMessage, response: ServerResponse): void {
    response.setHeader("docker-distribution-api-version", "registry/2.0");
    this.#route(request, response).catch((error: unknown) => sendError(response, error));
  }

  async #route(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "http://registry");
    const path = url.pathname;
    if (path === "/v2" || path === "/v2/") return sendJson(response, 200, {});
    if (path === "/v2/_catalog") return this.#catalog(url, response);
    const match = /^\/v2\/(.+)\/(?:(tags)\/list|(manifests|blobs|referrers)\/([^/]+)|blobs\/(uploads)\/([^/]*))$/.exec(
      path,
    );
    const name = match?.[1] ?? "";
    if (!match || name.length > 255 || !NAME.test(name))
      throw new Refusal(404, "NAME_INVALID", "there is nothing at this path");
    if (match[2]) return this.#tags(name, url, response);
    if (match[5]) return this.#upload(name, match[6]!, url, request, response);
    const target = decodeURIComponent(match[4]!);
    if (match[3] === "manifests") return this.#manifest(name, target, request, response);
    if (!isDigest(target)) throw new Refusal(400, "DIGEST_INVALID", "a sha256 digest is expected");
    return match[3] === "blobs" ? this.#blob(target, request, response) : this.#referrers(name, target, url, response);
  }

  #catalog(url: URL, response: ServerResponse): void {
    const { page, headers } = paged(this.#repositories.names(), url, "/v2/_catalog");
    sendJson(response, 200, { repositories: page }, headers);
  }

  #tags(name: string, url: URL, response: ServerResponse): void {
    const repository = this.#repositories.get(name);
    if (!repository) throw new Refusal(404, "NAME_UNKNOWN", `there is no repository ${name}`);
    const { page, headers } = paged(Object.keys(repository.tags).sort(), url, `/v2/${name}/tags/list`);
    sendJson(response, 200, { name, tags: page }, headers);
  }

  #referrers(name: string, subject: Digest, url: URL, response: ServerResponse): void {
    const wanted = url.searchParams.get("artifactType");
    const all = this.#repositories.referrers(name, subject);
    const manifests = wanted === null ? all : all.filter((entry) => entry.artifactType === wanted);
    const index: OciIndex = { schemaVersion: 2, mediaType: MEDIA.ociIndex, manifests };
    const filtered: Record<string, string> = wanted === null ? {} : { "oci-filters-applied": "artifactType" };
    sendJson(response, 200, index, { "content-type": MEDIA.ociIndex, ...filtered });
  }

  async #upload(name: string, id: string, url: URL, request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (id === "" && request.method === "POST") return this.#uploads.begin(name, url, request, response);
    switch (request.method) {
      case "GET":
        return this.#uploads.status(name, id, response);
      case "PATCH":
        return this.#uploads.patch(name, id, request, response);
      case "PUT":
        return this.#uploads.put(name, id, url, request, response);
      case "DELETE":
        return this.#uploads.cancel(name, id, response);
      default:
        throw new Refusal(405, "UNSUPPORTED", "an upload takes GET, PATCH, PUT and DELETE");
    }
  }

  async #blob(digest: Digest, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { content } = this.#options;
    const info = await content.info(digest);
    if (!info) throw new Refusal(404, "BLOB_UNKNOWN", `there is no blob ${digest}`);
    // Blobs are shared with images: they go when nothing names them any more, not before.
    if (request.method === "DELETE") return sendEmpty(response, 202);
    const common = {
      "content-type": "application/octet-stream",
      "docker-content-digest": digest,
      "accept-ranges": "bytes",
    };
    const range = byteRange(request.headers.range, info.sizeBytes);
    const length = range ? range.end - range.start + 1 : info.sizeBytes;
    const partial = range && { "content-range": `bytes ${range.start}-${range.end}/${info.sizeBytes}` };
    response.writeHead(range ? 206 : 200, { ...common, ...partial, "content-length": String(length) });
    if (request.method === "HEAD") return void response.end();
    try {
      await pipeline(await content.open(digest, range), response);
    } catch {
      // The client went away in the middle of a blob.
      response.destroy();
    }
  }

  async #manifest(name: string, target: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (!isDigest(target) && !TAG.test(target))
      throw new Refusal(400, "MANIFEST_INVALID", "a tag or a sha256 digest is expected");
    if (request.method === "PUT") return this.#putManifest(name, target, request, response);
    if (request.method === "DELETE") {
      if (!(await this.#repositories.delete(name, target)))
        throw new Refusal(404, "MANIFEST_UNKNOWN", `${name} has no ${target}`);
      return sendEmpty(response, 202);
    }
    const found = await this.#findManifest(name, target).catch(absentUpstream);
    if (!found) throw new Refusal(404, "MANIFEST_UNKNOWN", `${name} has no ${target}`);
    const headers = { "content-type": found.mediaType, "docker-content-digest": found.digest };
    if (request.method !== "HEAD") return sendBytes(response, 200, found.bytes, headers);
    response.writeHead(200, { ...headers, "content-length": String(found.bytes.byteLength) });
    response.end();
  }

  async #findManifest(name: string, target: string) {
    const { content, images } = this.#options;
    const known = await this.#knownManifest(name, target);
    if (known) return known;
    await using _lease = content.lease();
    if (this.#options.pullThrough && images.pull) return this.#pulledThrough(name, target);
    return isDigest(target) ? undefined : images.manifestFor(`${name}:${target}`);
  }

  /** A tag may have moved upstream, so that is asked each time; what is here serves while nobody answers. What was made here stays as it is. */
  async #pulledThrough(name: string, target: string) {
    const { images } = this.#options;
    if (isDigest(target)) {
      await images.pull!(`docker.io/${name}@${target}`);
      return this.#knownManifest(name, target);
    }
    const local = () => images.manifestFor(`${name}:${target}`, { partial: true });
    const before = await local();
    if (before && !before.pulled) return before;
    try {
      await images.pull!(`docker.io/${name}:${target}`);
    } catch (error) {
      if (!before) throw error;
      this.#options.context.log.warn("serving a kept image, since its registry doesn't answer", {
        image: `${name}:${target}`,
        error,
      });
      return before;
    }
    return local();
  }

  /** What was pushed here, or what an image here has under a digest. */
  async #knownManifest(name: string, target: string) {
    const { content, images } = this.#options;
    const repository = this.#repositories.get(name);
    const digest = isDigest(target) ? target : repository?.tags[target];
    const pushed = digest === undefined ? undefined : repository?.manifests[digest];
    if (digest === undefined || !content.has(digest) || !(pushed || images.hasManifest(digest))) return undefined;
    const bytes = await content.read(digest);
    return { digest, bytes, mediaType: pushed?.mediaType ?? mediaTypeOf(bytes) };
  }

  async #putManifest(name: string, target: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { content } = this.#options;
    const bytes = await readBody(request, MAX_MANIFEST_BYTES);
    const digest = digestOf(bytes);
    if (isDigest(target) && target !== digest)
      throw new Refusal(400, "DIGEST_INVALID", `the manifest has digest ${digest}`);
    const record = recordOf(bytes, request.headers["content-type"]);
    const missing = record.references.find((reference) => !content.has(reference));
    if (missing !== undefined)
      throw new Refusal(404, "MANIFEST_BLOB_UNKNOWN", `the manifest names ${missing}, which was not pushed`);
    await using _lease = content.lease();
    for (const reference of record.references) content.leases.touch(reference);
    await content.write(bytes);
    await this.#repositories.put(name, digest, record, isDigest(target) ? undefined : target);
    sendEmpty(response, 201, {
      location: `/v2/${name}/manifests/${digest}`,
      "docker-content-digest": digest,
      ...(record.subject && { "oci-subject": record.subject }),
    });
  }
}

/** What upstream doesn't have, we don't. */
function absentUpstream(error: unknown): undefined {
  if (!hasCode(error, "notFound", "unauthenticated", "permissionDenied")) throw error;
}

function mediaTypeOf(bytes: Buffer): string {
  const parsed = JSON.parse(bytes.toString("utf8")) as { mediaType?: string; manifests?: unknown };
  return parsed.mediaType ?? (parsed.manifests ? MEDIA.ociIndex : MEDIA.ociManifest);
}

/** Checks a pushed manifest and takes out what the repository keeps of it. */
function recordOf(bytes: Buffer, contentType: string | undefined): ManifestRecord {
  let mediaType = contentType?.split(";")[0]?.trim() ?? "";
  if (!isIndexType(mediaType) && !isManifestType(mediaType)) {
    if (mediaType !== "" && mediaType !== "application/json")
      throw new Refusal(415, "MANIFEST_INVALID", `manifests of type ${mediaType} aren't taken`);
    mediaType = mediaTypeOf(bytes);
  }
  try {
    const common = (value: { subject?: { digest: Digest }; annotations?: Readonly<Record<string, string>> }) => ({
      mediaType,
      size: bytes.byteLength,
      ...(value.subject && { subject: value.subject.digest }),
      ...(value.annotations && { annotations: value.annotations }),
    });
    if (isIndexType(mediaType)) {
      const index = parseIndex(bytes);
      const references = index.manifests.map((entry) => entry.digest);
      return { ...common(index), ...(index.artifactType && { artifactType: index.artifactType }), references };
    }
    const manifest = parseManifest(bytes);
    const references = [manifest.config, ...manifest.layers]
      .filter((part) => part.urls === undefined)
      .map((part) => part.digest);
    return { ...common(manifest), artifactType: manifest.artifactType ?? manifest.config.mediaType, references };
  } catch (error) {
    throw new Refusal(400, "MANIFEST_INVALID", (error as Error).message);
  }
}

/** `n` and `last`, with a Link to the next page (RFC 8288). */
function paged(all: readonly string[], url: URL, path: string): { page: string[]; headers: Record<string, string> } {
  const asked = Number(url.searchParams.get("n") ?? DEFAULT_PAGE);
  const size = Math.min(Number.isInteger(asked) && asked >= 0 ? asked : DEFAULT_PAGE, MAX_PAGE);
  const last = url.searchParams.get("last");
  const left = last === null ? all : all.filter((name) => name > last);
  const page = left.slice(0, size);
  const more = page.length > 0 && left.length > page.length;
  const next = `${path}?n=${size}&last=${encodeURIComponent(page.at(-1) ?? "")}`;
  return { page, headers: more ? { link: `<${next}>; rel="next"` } : {} };
}

/** One range of bytes; undefined for none, and for what is better answered whole. */
function byteRange(header: string | undefined, size: number): { start: number; end: number } | undefined {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header ?? "");
  if (!match || (match[1] === "" && match[2] === "")) return undefined;
  const start = match[1] === "" ? Math.max(0, size - Number(match[2])) : Number(match[1]);
  const end = match[1] === "" || match[2] === "" ? size - 1 : Math.min(Number(match[2]), size - 1);
  if (start >= size || start > end) throw new Refusal(416, "RANGE_INVALID", `the blob has ${size} bytes`);
  return { start, end };
}
