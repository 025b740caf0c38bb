import path from "node:path";
import type { Clock, Logger } from "../../../base/index.ts";
import { Checkpoint } from "../checkpoint.ts";
import type { KubeletConfiguration } from "../configuration.ts";
import type { Pod } from "../pod/imports.ts";
import { ManifestFolder } from "./manifest-folder.ts";
import { ManifestUrl } from "./manifest-url.ts";

export interface ManifestSourcesOptions {
  readonly configuration: KubeletConfiguration;
  readonly dataDir: string;
  readonly nodeName: string;
  readonly clock: Clock;
  readonly log: Logger;
  /** Everything that the sources hold now. */
  readonly onPods: (pods: readonly Pod[]) => void;
}

/** Whether the configuration names any source of static Pods. */
export function hasStaticPods({ staticPodPath, staticPodUrl }: KubeletConfiguration): boolean {
  return staticPodPath !== undefined || staticPodUrl !== undefined;
}

/** Where static Pods come from: a folder, a URL, or both. */
export class ManifestSources {
  readonly #sources: ReadonlyArray<ManifestFolder | ManifestUrl>;
  readonly #pods = new Map<string, readonly Pod[]>();

  constructor({ configuration, dataDir, onPods, ...common }: ManifestSourcesOptions) {
    const { staticPodPath, staticPodUrl, staticPodUrlHeaders, fileCheckFrequencyMs, httpCheckFrequencyMs } =
      configuration;
    const from = (source: string) => (pods: readonly Pod[]) => {
      this.#pods.set(source, pods);
      onPods([...this.#pods.values()].flat());
    };
    const folder =
      staticPodPath !== undefined &&
      new ManifestFolder({ ...common, path: staticPodPath, checkMs: fileCheckFrequencyMs, onPods: from("file") });
    const url =
      staticPodUrl !== undefined &&
      new ManifestUrl({
        ...common,
        url: staticPodUrl,
        headers: staticPodUrlHeaders,
        checkMs: httpCheckFrequencyMs,
        last: new Checkpoint(path.join(dataDir, "static-pods.json")),
        onPods: from("http"),
      });
    this.#sources = [folder, url].filter((source) => source !== false);
  }

  /** Resolves when each has been asked once. */
  async start(): Promise<void> {
    await Promise.all(this.#sources.map((source) => source.start()));
  }

  stop(): void {
    for (const source of this.#sources) source.stop();
  }
}
