import type { IncomingMessage, ServerResponse } from "node:http";
import { randomUuid, type InstanceContext } from "../../../base/index.ts";
import { isDigest, type Digest, type FileContentStore, type Upload } from "../../content/index.ts";
import { Refusal, sendEmpty } from "./answer.ts";

/** Uploads that are open at one time; the oldest is put aside, from where it can still be gone on with. */
const MAX_OPEN = 256;
/** A pushed blob waits this long for a manifest that names it. */
const UNNAMED_KEPT_MS = 3600_000;

/** Blob uploads, chunked and in one piece (OCI distribution specification, "Pushing blobs"). They survive a restart of the daemon. */
export class Uploads {
  readonly #content: FileContentStore;
  readonly #context: InstanceContext;
  readonly #open = new Map<string, Upload>();

  constructor(content: FileContentStore, context: InstanceContext) {
    this.#content = content;
    this.#context = context;
  }

  async begin(name: string, url: URL, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const mount = url.searchParams.get("mount");
    if (mount !== null && isDigest(mount) && this.#content.has(mount)) {
      this.hold(mount);
      return sendEmpty(response, 201, blobHeaders(name, mount));
    }
    const id = randomUuid(this.#context.random);
    const upload = await this.#content.openUpload(uploadName(name, id));
    this.#remember(id, upload);
    const digest = url.searchParams.get("digest");
    if (digest !== null) return this.#finish(name, id, upload, digest, request, response);
    sendEmpty(response, 202, uploadHeaders(name, id, 0));
  }

  async status(name: string, id: string, response: ServerResponse): Promise<void> {
    sendEmpty(response, 204, uploadHeaders(name, id, (await this.#find(name, id)).offset));
  }

  async patch(name: string, id: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const upload = await this.#find(name, id);
    checkRange(request, upload.offset);
    await append(upload, request);
    sendEmpty(response, 202, uploadHeaders(name, id, upload.offset));
  }

  async put(name: string, id: string, url: URL, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const digest = url.searchParams.get("digest");
    if (digest === null || !isDigest(digest)) throw new Refusal(400, "DIGEST_INVALID", "a sha256 digest is expected");
    const upload = await this.#find(name, id);
    checkRange(request, upload.offset);
    await this.#finish(name, id, upload, digest, request, response);
  }

  async cancel(name: string, id: string, response: ServerResponse): Promise<void> {
    await (await this.#find(name, id)).abandon();
    this.#open.delete(id);
    sendEmpty(response, 204);
  }

  /** Keeps a blob until a manifest had time to come. */
  hold(digest: Digest): void {
    const lease = this.#content.leases.lease({ gathers: false });
    lease.protect(digest);
    this.#context.clock.after(UNNAMED_KEPT_MS, () => void lease.release());
  }

  async close(): Promise<void> {
    for (const upload of this.#open.values()) await upload.suspend();
    this.#open.clear();
  }

  async #finish(
    name: string,
    id: string,
    upload: Upload,
    digest: string,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    if (!isDigest(digest)) throw new Refusal(400, "DIGEST_INVALID", "a sha256 digest is expected");
    await append(upload, request);
    this.hold(digest);
    this.#open.delete(id);
    await upload.commit({ digest });
    sendEmpty(response, 201, blobHeaders(name, digest));
  }

  async #find(name: string, id: string): Promise<Upload> {
    const open = this.#open.get(id);
    if (open?.name === uploadName(name, id)) return open;
    if (!/^[0-9a-f-]{36}$/.test(id) || !this.#content.hasUpload(uploadName(name, id)))
      throw new Refusal(404, "BLOB_UPLOAD_UNKNOWN", "there is no such upload");
    const upload = await this.#content.openUpload(uploadName(name, id));
    this.#remember(id, upload);
    return upload;
  }

  #remember(id: string, upload: Upload): void {
    this.#open.set(id, upload);
    if (this.#open.size <= MAX_OPEN) return;
    const [oldest, aside] = this.#open.entries().next().value!;
    this.#open.delete(oldest);
    void aside.suspend();
  }
}

async function append(upload: Upload, request: IncomingMessage): Promise<void> {
  for await (const chunk of request) await upload.append(chunk as Buffer);
}

function checkRange(request: IncomingMessage, offset: number): void {
  const range = request.headers["content-range"];
  if (range === undefined) return;
  const start = /^(?:bytes[ =])?(\d+)-\d+/.exec(range)?.[1];
  if (start === undefined || Number(start) !== offset)
    throw new Refusal(416, "RANGE_INVALID", `the upload is at ${offset}, the chunk begins at ${start ?? "?"}`);
}

function uploadName(repository: string, id: string): string {
  return `registry ${repository} ${id}`;
}

function uploadHeaders(name: string, id: string, offset: number): Record<string, string> {
  const range = `0-${Math.max(0, offset - 1)}`;
  return { location: `/v2/${name}/blobs/uploads/${id}`, range, "docker-upload-uuid": id };
}

function blobHeaders(name: string, digest: Digest): Record<string, string> {
  return { location: `/v2/${name}/blobs/${digest}`, "docker-content-digest": digest };
}
