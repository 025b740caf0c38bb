import type { OciDescriptor, OciManifest } from "../../api/index.ts";
import type { Digest } from "../content/index.ts";
import { plainManifest } from "./archive/save.ts";
import type { NameRecord } from "./catalog.ts";
import { digestOf } from "../content/index.ts";
import type { Library } from "./library.ts";
import { parseIndex, parseManifest } from "./manifest.ts";
import type { Image, ImagePart, ImageUser } from "./types.ts";

/** BuildKit's marks on what is in an index beside images. */
const KIND = "vnd.docker.reference.type";
const OF = "vnd.docker.reference.digest";

/** What the index under a name has, here or not; the one manifest of an image that has no index. */
export async function partsOf(
  library: Library,
  image: Image,
  record: NameRecord | undefined,
  users: Iterable<ImageUser>,
): Promise<ImagePart[]> {
  const { content, catalog } = library.parts;
  const all = [...users];
  const imagePart = async (descriptor: OciDescriptor, id: Digest): Promise<ImagePart> => {
    const found = id === image.id ? image : await library.image(id);
    return {
      descriptor,
      kind: "image",
      platform: descriptor.platform ?? found.platform,
      image: found,
      contentBytes: await contentBytes(library, descriptor, found),
      containerIds: all.filter((user) => user.imageId === id).map((user) => user.containerId),
      attests: undefined,
    };
  };
  if (record?.index === undefined || !content.has(record.index)) return [await imagePart(manifestOf(image), image.id)];
  const ids = new Map([...catalog.images].map(([id, { manifest }]) => [manifest?.digest, id]));
  const { manifests } = parseIndex(await content.read(record.index));
  return Promise.all(
    manifests.map(async (descriptor) => {
      const id = ids.get(descriptor.digest);
      return id === undefined ? absentPart(descriptor) : imagePart(descriptor, id);
    }),
  );
}

/** Whether every image of an index, and all that stands beside them, is here. */
export function isWhole(parts: readonly ImagePart[]): boolean {
  return parts.every((part) => part.image !== undefined);
}

function absentPart(descriptor: OciDescriptor): ImagePart {
  const attestation = descriptor.annotations?.[KIND] === "attestation-manifest";
  const known = descriptor.platform !== undefined && descriptor.platform.os !== "unknown";
  return {
    descriptor,
    kind: attestation ? "attestation" : known ? "image" : "unknown",
    platform: descriptor.platform,
    image: undefined,
    contentBytes: 0,
    containerIds: [],
    attests: attestation ? descriptor.annotations?.[OF] : undefined,
  };
}

/** The manifest it came with, else the one under which it would be saved. */
function manifestOf(image: Image): OciDescriptor {
  if (image.manifest) return image.manifest;
  const bytes = Buffer.from(JSON.stringify(plainManifest(image)));
  const { mediaType } = plainManifest(image);
  return { mediaType: mediaType!, digest: digestOf(bytes), size: bytes.byteLength };
}

async function contentBytes({ parts: { content } }: Library, manifest: OciDescriptor, image: Image): Promise<number> {
  if (!content.has(manifest.digest)) return image.configSizeBytes;
  const parsed: OciManifest = parseManifest(await content.read(manifest.digest));
  return [manifest, parsed.config, ...parsed.layers].reduce(
    (sum, { digest, size }) => sum + (content.has(digest) ? size : 0),
    0,
  );
}
