import { RUNTIME_PROTO, type cri } from "../../api/index.ts";
import type { Clock } from "../../base/index.ts";
import { GrpcConnection, type Wire } from "../grpc/index.ts";
import * as from from "./from-wire.ts";
import { sandboxConfig } from "./to-wire.ts";

/** The images of another container runtime, by its CRI v1 socket. */
export class RemoteImages implements cri.ImageService {
  readonly #connection: GrpcConnection;

  constructor(endpoint: string, clock: Clock) {
    this.#connection = new GrpcConnection(endpoint, { proto: RUNTIME_PROTO, name: "runtime.v1.ImageService" }, clock);
  }

  close(): void {
    this.#connection.close();
  }

  async listImages(filter: { image?: cri.ImageSpec } = {}): Promise<cri.CriImage[]> {
    const { images } = await this.#connection.call("listImages", { filter });
    return (images as Wire[]).map(from.image);
  }
  async imageStatus(image: cri.ImageSpec): Promise<cri.CriImage | undefined> {
    const { image: found } = await this.#connection.call("imageStatus", { image });
    return found ? from.image(found) : undefined;
  }
  /** As long as it takes; the signal ends it. */
  async pullImage(image: cri.ImageSpec, { auth, sandboxConfig: config, signal }: cri.PullOptions): Promise<string> {
    const request = {
      image,
      ...(auth ? { auth } : {}),
      ...(config ? { sandboxConfig: sandboxConfig(config) } : {}),
    };
    return (await this.#connection.call("pullImage", request, { timeoutMs: 0, signal }))["imageRef"];
  }
  async removeImage(image: cri.ImageSpec): Promise<void> {
    await this.#connection.call("removeImage", { image });
  }
  async imageFsInfo() {
    const { imageFilesystems, containerFilesystems } = await this.#connection.call("imageFsInfo", {});
    const images = (imageFilesystems as Wire[]).map(from.filesystem);
    const containers = ((containerFilesystems ?? []) as Wire[]).map(from.filesystem);
    return { imageFilesystems: images, containerFilesystems: containers.length > 0 ? containers : images };
  }
}
