import { statfs } from "node:fs/promises";
import { hasCode, type InstanceContext } from "../../base/index.ts";
import type { cri } from "../../api/index.ts";
import type { Image, ImageService } from "../image/index.ts";

/** The engine's image store as CRI's image service: the same images that `docker build` and `docker load` make. */
export class CriImages implements cri.ImageService {
  readonly #context: InstanceContext;
  readonly #images: ImageService;

  constructor(context: InstanceContext, images: ImageService) {
    this.#context = context;
    this.#images = images;
  }

  async listImages(filter?: { image?: cri.ImageSpec }): Promise<cri.CriImage[]> {
    if (filter?.image?.image) {
      const found = await this.imageStatus(filter.image);
      return found ? [found] : [];
    }
    return (await this.#images.list()).map(toCri);
  }

  async imageStatus(image: cri.ImageSpec): Promise<cri.CriImage | undefined> {
    const found = await this.#images.find(image.image);
    return found && toCri(found);
  }

  async pullImage(image: cri.ImageSpec, options: cri.PullOptions): Promise<string> {
    const { auth, signal } = options;
    const pulled = await this.#images.pull(image.image, {
      ...(signal ? { signal } : {}),
      ...(auth
        ? {
            auth: {
              username: auth.username,
              password: auth.password,
              identitytoken: auth.identityToken,
              registrytoken: auth.registryToken,
              serveraddress: auth.serverAddress,
            },
          }
        : {}),
    });
    return pulled.id;
  }

  async removeImage(image: cri.ImageSpec): Promise<void> {
    try {
      await this.#images.remove(image.image, { force: true });
    } catch (error) {
      if (!hasCode(error, "notFound")) throw error;
    }
  }

  async imageFsInfo() {
    const { bsize, blocks, bfree, files, ffree } = await statfs(this.#context.dataDir);
    const usage: cri.FilesystemUsage = {
      timestamp: this.#context.clock.nowMs() * 1e6,
      mountpoint: this.#context.dataDir,
      usedBytes: (blocks - bfree) * bsize,
      inodesUsed: files - ffree,
    };
    return { imageFilesystems: [usage], containerFilesystems: [usage] };
  }
}

function toCri(image: Image): cri.CriImage {
  const user = (image.config.config?.User ?? "").split(":")[0]!;
  return {
    id: image.id,
    repoTags: [...image.repoTags],
    repoDigests: [...image.repoDigests],
    sizeBytes: image.sizeBytes,
    ...(/^\d+$/.test(user) ? { uid: Number(user) } : {}),
    username: /^\d+$/.test(user) ? "" : user,
    pinned: false,
    spec: { image: image.repoTags[0] ?? image.id },
    local: image.repoDigests.length === 0,
  };
}
