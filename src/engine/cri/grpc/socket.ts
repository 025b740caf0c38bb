import type { cri } from "../../../api/index.ts";
import type { Logger } from "../../../base/index.ts";
import { listenLazily } from "../../../host/index.ts";
import type { CriStreaming } from "../types.ts";

/** The CRI socket. */
export async function listenCri(
  file: string,
  runtime: cri.RuntimeService,
  images: cri.ImageService,
  streaming: CriStreaming,
  log: Logger,
): Promise<{ close(): Promise<void> }> {
  const load = async () => (await import("./server.ts")).createCriServer(runtime, images, streaming);
  const listening = await listenLazily(file, load, log);
  return {
    async close() {
      await Promise.all([listening.close(), streaming.close()]);
    },
  };
}
