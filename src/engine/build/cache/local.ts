/** A folder in the OCI image layout (https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md) as a place for a cache. */
import fs from "node:fs";
import path from "node:path";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { OciDescriptor } from "../../../api/index.ts";
import { codeOf, errnoOf, invalidArgument, MAX_SMALL_FILE_BYTES, notFound } from "../../../base/index.ts";
import { digestOf, isDigest, writeFileAtomic } from "../../content/index.ts";
import type { ArtifactPlace } from "../../image/index.ts";

export class LocalArtifacts implements ArtifactPlace {
  readonly #directory: string;

  constructor(directory: string) {
    if (!path.isAbsolute(directory))
      throw invalidArgument(`the cache's folder ${JSON.stringify(directory)} is not an absolute path`, {
        hint: "The daemon has no working directory that you would mean.",
      });
    this.#directory = directory;
  }

  async manifest(): Promise<{ descriptor: OciDescriptor; bytes: Buffer } | undefined> {
    const index = readSmall(path.join(this.#directory, "index.json"));
    if (!index) return undefined;
    const [descriptor] = parseIndex(index, this.#directory);
    const bytes = descriptor && readSmall(this.#file(descriptor.digest));
    if (!bytes) return undefined;
    if (digestOf(bytes) !== descriptor.digest)
      throw invalidArgument(
        `the cache in ${this.#directory} is damaged: its manifest has another digest than its index says`,
      );
    return { descriptor, bytes };
  }

  async blob(digest: string): Promise<Readable> {
    const file = this.#file(digest);
    if (!fs.existsSync(file)) throw notFound(`the cache in ${this.#directory} has no ${digest}`);
    return fs.createReadStream(file, { highWaterMark: 1 << 18 });
  }

  async putBlob({ digest }: OciDescriptor, open: () => Promise<Readable>): Promise<void> {
    const file = this.#file(digest);
    if (fs.existsSync(file)) return;
    fs.mkdirSync(path.dirname(file), { recursive: true });
    await pipeline(await open(), fs.createWriteStream(`${file}.tmp`));
    fs.renameSync(`${file}.tmp`, file);
  }

  async putManifest(mediaType: string, bytes: Buffer): Promise<void> {
    const digest = digestOf(bytes);
    fs.mkdirSync(path.dirname(this.#file(digest)), { recursive: true });
    await writeFileAtomic(this.#file(digest), bytes);
    await writeFileAtomic(path.join(this.#directory, "oci-layout"), '{"imageLayoutVersion":"1.0.0"}');
    const manifests = [{ mediaType, digest, size: bytes.byteLength }];
    await writeFileAtomic(path.join(this.#directory, "index.json"), JSON.stringify({ schemaVersion: 2, manifests }));
  }

  #file(digest: string): string {
    return path.join(this.#directory, "blobs/sha256", digest.slice("sha256:".length));
  }
}

function parseIndex(bytes: Buffer, directory: string): OciDescriptor[] {
  try {
    const { manifests } = JSON.parse(bytes.toString("utf8")) as { manifests: OciDescriptor[] };
    if (manifests.every(({ digest }) => isDigest(digest))) return manifests;
  } catch (error) {
    throw invalidArgument(`the index of the cache in ${directory} is broken`, {
      cause: error,
      details: { code: codeOf(error) },
    });
  }
  throw invalidArgument(`the index of the cache in ${directory} is broken`);
}

function readSmall(file: string): Buffer | undefined {
  try {
    if (fs.statSync(file).size > MAX_SMALL_FILE_BYTES) throw invalidArgument(`${file} is too large`);
    return fs.readFileSync(file);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return undefined;
    throw error;
  }
}
