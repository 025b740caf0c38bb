import path from "node:path";
import type { OciDescriptor } from "../../../api/index.ts";
import { readJson, writeFileAtomic, type Digest } from "../../content/index.ts";

/** A manifest as its repository knows it: enough for a referrers list. */
export interface ManifestRecord {
  readonly mediaType: string;
  readonly size: number;
  readonly subject?: Digest;
  readonly artifactType?: string;
  readonly annotations?: Readonly<Record<string, string>>;
  /** Blobs and manifests that it names: they live as long as it does. */
  readonly references: readonly Digest[];
}

export interface RepositoryRecord {
  readonly tags: Record<string, Digest>;
  readonly manifests: Record<Digest, ManifestRecord>;
}

/** What was pushed to this registry, in one small file that is replaced whole. Blobs are in the content store, shared with everything. */
export class Repositories {
  readonly #file: string;
  readonly #byName: Map<string, RepositoryRecord>;
  #tail: Promise<void> = Promise.resolve();

  private constructor(file: string, byName: Map<string, RepositoryRecord>) {
    this.#file = file;
    this.#byName = byName;
  }

  static async open(dataDir: string): Promise<Repositories> {
    const file = path.join(dataDir, "registry.json");
    return new Repositories(
      file,
      new Map(Object.entries((await readJson<Record<string, RepositoryRecord>>(file)) ?? {})),
    );
  }

  get(name: string): RepositoryRecord | undefined {
    return this.#byName.get(name);
  }
  names(): string[] {
    return [...this.#byName.keys()].sort();
  }

  put(name: string, digest: Digest, manifest: ManifestRecord, tag: string | undefined): Promise<void> {
    const before = this.#byName.get(name) ?? { tags: {}, manifests: {} };
    const tags = tag === undefined ? before.tags : { ...before.tags, [tag]: digest };
    this.#byName.set(name, { tags, manifests: { ...before.manifests, [digest]: manifest } });
    return this.#save();
  }

  /** Deletes a tag, or a manifest with all its tags. False when there is none. */
  async delete(name: string, tagOrDigest: string): Promise<boolean> {
    const before = this.#byName.get(name);
    if (!before || !(tagOrDigest in before.tags || tagOrDigest in before.manifests)) return false;
    const keep = ([tag, digest]: [string, Digest]) => tag !== tagOrDigest && digest !== tagOrDigest;
    const tags = Object.fromEntries(Object.entries(before.tags).filter(keep));
    const manifests = Object.fromEntries(Object.entries(before.manifests).filter(([digest]) => digest !== tagOrDigest));
    if (Object.keys(manifests).length === 0) this.#byName.delete(name);
    else this.#byName.set(name, { tags, manifests });
    await this.#save();
    return true;
  }

  /** Manifests of a repository that say they are about `subject`. */
  referrers(name: string, subject: Digest): OciDescriptor[] {
    const manifests = Object.entries(this.#byName.get(name)?.manifests ?? {});
    return manifests
      .filter(([, record]) => record.subject === subject)
      .map(([digest, { mediaType, size, artifactType, annotations }]) => ({
        mediaType,
        digest,
        size,
        ...(artifactType && { artifactType }),
        ...(annotations && { annotations }),
      }));
  }

  /** Everything that garbage collection must leave alone. */
  *roots(): Iterable<Digest> {
    for (const { manifests } of this.#byName.values())
      for (const [digest, record] of Object.entries(manifests)) {
        yield digest;
        yield* record.references;
      }
  }

  #save(): Promise<void> {
    this.#tail = this.#tail
      .catch(() => {})
      .then(() => writeFileAtomic(this.#file, JSON.stringify(Object.fromEntries(this.#byName))));
    return this.#tail;
  }
}
