import { messageOf, rfc3339, unavailable, type Clock, type Logger, type Timer } from "../../../base/index.ts";
import type { Checkpoint } from "../checkpoint.ts";
import type { Pod } from "../pod/imports.ts";
import { manifestsIn, staticPod } from "./manifest.ts";

export interface ManifestUrlOptions {
  readonly url: string;
  readonly headers: Readonly<Record<string, readonly string[]>>;
  readonly nodeName: string;
  readonly checkMs: number;
  readonly clock: Clock;
  readonly log: Logger;
  /** What it last answered, from before a restart. */
  readonly last: Checkpoint<string>;
  /** Everything that the URL answers now. */
  readonly onPods: (pods: readonly Pod[]) => void;
}

const TIMEOUT_MS = 10_000;
const MAX_BYTES = 10 * 1024 * 1024;

/** Follows a URL that answers a Pod or a list of Pods. While it answers nothing of use, its Pods stay what they were. */
export class ManifestUrl {
  readonly #options: ManifestUrlOptions;
  readonly #stop = new AbortController();
  #timer: Timer | undefined;
  #last: string | undefined;

  constructor(options: ManifestUrlOptions) {
    this.#options = options;
  }

  /** Resolves when it was asked once. */
  async start(): Promise<void> {
    await this.#round();
    const { last } = this.#options;
    const known = this.#last === undefined ? await last.load() : undefined;
    // A restart while it fails is no reason to end its Pods.
    if (known !== undefined) await this.#take(known);
  }

  stop(): void {
    this.#stop.abort();
    this.#timer?.cancel();
  }

  async #round(): Promise<void> {
    const { clock, log, url, checkMs, last } = this.#options;
    try {
      const text = await this.#fetch();
      if (text !== this.#last) {
        await this.#take(text);
        await last.save(text);
      }
    } catch (error) {
      log.warn("static Pods can't be fetched", { url, error: messageOf(error) });
    }
    if (!this.#stop.signal.aborted) this.#timer = clock.after(checkMs, () => void this.#round());
  }

  async #take(text: string): Promise<void> {
    const { url, nodeName, clock, onPods } = this.#options;
    const manifests = await manifestsIn(text, url);
    const seen = rfc3339(clock.nowMs());
    const source = { kind: "http", at: url } as const;
    const pods = await Promise.all(manifests.map((manifest) => staticPod(manifest, source, nodeName, seen)));
    this.#last = text;
    if (!this.#stop.signal.aborted) onPods(pods);
  }

  async #fetch(): Promise<string> {
    const { url, headers, clock } = this.#options;
    const patience = new AbortController();
    const timer = clock.after(TIMEOUT_MS, () => patience.abort(unavailable(`${url} did not answer in time`)));
    try {
      const response = await fetch(url, {
        headers: Object.entries(headers).flatMap(([name, values]) =>
          values.map((value): [string, string] => [name, value]),
        ),
        signal: AbortSignal.any([this.#stop.signal, patience.signal]),
      });
      if (!response.ok) throw unavailable(`${url}: ${response.status} ${response.statusText}`);
      const parts: Uint8Array[] = [];
      let bytes = 0;
      for await (const part of response.body ?? []) {
        parts.push(part);
        bytes += part.byteLength;
        if (bytes > MAX_BYTES) throw unavailable(`${url} answers more than ${MAX_BYTES} bytes`);
      }
      if (bytes === 0) throw unavailable(`zero-length data received from ${url}`);
      return Buffer.concat(parts).toString();
    } finally {
      timer.cancel();
    }
  }
}
