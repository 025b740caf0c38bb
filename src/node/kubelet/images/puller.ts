import { hasCode, messageOf, unavailable, type Clock } from "../../../base/index.ts";
import type { Container, cri, Pod } from "../pod/imports.ts";
import type { Waiting } from "../status/container-status.ts";
import { Backoff } from "../pod/backoff.ts";

export interface PullerOptions {
  readonly images: cri.ImageService;
  readonly clock: Clock;
  readonly event: (pod: Pod, container: Container, type: "Normal" | "Warning", reason: string, message: string) => void;
  readonly auth: (pod: Pod, image: string) => Promise<cri.RegistryAuth | undefined>;
}

/** For how long a failed pull shows its error before it shows that the next one waits. */
const BACKOFF_SHOWN_AFTER_MS = 2_000;

/** Thrown when a container can't start yet; what its status shows meanwhile. */
export class NotStarted extends Error {
  readonly waiting: Waiting;
  /** When it is worth trying again. Undefined: when something changes, or at the kubelet's next round. */
  readonly retryAfterMs: number | undefined;
  constructor(reason: string, message: string, retryAfterMs?: number) {
    super(message);
    this.waiting = { reason, message };
    this.retryAfterMs = retryAfterMs;
  }
}

/** Makes sure of a container's image, by its pull policy. https://kubernetes.io/docs/concepts/containers/images/#image-pull-policy */
export class ImagePuller {
  readonly #options: PullerOptions;
  readonly #backoff: Backoff;

  constructor(options: PullerOptions) {
    this.#options = options;
    this.#backoff = new Backoff(options.clock);
  }

  async ensure(pod: Pod, container: Container, signal: AbortSignal): Promise<cri.CriImage> {
    const { images, clock, event } = this.#options;
    const image = container.image ?? "";
    const spec: cri.ImageSpec = { image };
    if (!isReference(image)) {
      const message = `Failed to apply default image tag "${image}": couldn't parse image name "${image}": invalid reference format`;
      event(pod, container, "Warning", "InspectFailed", message);
      throw new NotStarted("InvalidImageName", message);
    }
    const here = await images.imageStatus(spec);
    const policy =
      container.imagePullPolicy ?? (/:latest$|^[^:]+$/.test(image.split("/").at(-1)!) ? "Always" : "IfNotPresent");
    // A name that only exists here can't be asked of a registry: Always means the newest local one then.
    if (here && (policy !== "Always" || here.local)) {
      event(pod, container, "Normal", "Pulled", `Container image "${image}" already present on machine`);
      return here;
    }
    if (policy === "Never") {
      const message = `Container image "${image}" is not present with pull policy of Never`;
      event(pod, container, "Warning", "ErrImageNeverPull", message);
      throw new NotStarted("ErrImageNeverPull", message);
    }
    const key = `${pod.metadata.uid}/${image}`;
    const waitMs = this.#backoff.remainingMs(key, clock.nowMs());
    if (waitMs > 0) {
      const message = `Back-off pulling image "${image}"`;
      event(pod, container, "Normal", "BackOff", message);
      throw new NotStarted("ImagePullBackOff", `${message}: ${this.#backoff.why(key)}`, waitMs);
    }
    event(pod, container, "Normal", "Pulling", `Pulling image "${image}"`);
    const begunMs = clock.monotonicMs();
    try {
      await images.pullImage(spec, { signal, auth: await this.#options.auth(pod, image) });
      const pulled = await images.imageStatus(spec);
      if (!pulled) throw unavailable(`image "${image}" was pulled but is not in the store`);
      this.#backoff.reset(key);
      const took = formatSeconds(clock.monotonicMs() - begunMs);
      event(
        pod,
        container,
        "Normal",
        "Pulled",
        `Successfully pulled image "${image}" in ${took} (${took} including waiting). Image size: ${pulled.sizeBytes} bytes.`,
      );
      return pulled;
    } catch (error) {
      if (hasCode(error, "canceled")) throw error;
      const why = messageOf(error);
      this.#backoff.next(key, clock.nowMs(), `ErrImagePull: ${why}`);
      event(pod, container, "Warning", "Failed", `Failed to pull image "${image}": ${why}`);
      event(pod, container, "Warning", "Failed", "Error: ErrImagePull");
      // Soon once more, to say how long the wait is.
      throw new NotStarted("ErrImagePull", why, BACKOFF_SHOWN_AFTER_MS);
    }
  }

  forget(podUid: string): void {
    this.#backoff.resetPrefix(`${podUid}/`);
  }
}

function isReference(image: string): boolean {
  return (
    /^[a-z0-9]([a-z0-9._-]*[a-z0-9])?(:\d+)?(\/[a-z0-9]+([._-]+[a-z0-9]+)*)*(:[\w][\w.-]{0,127})?(@sha256:[0-9a-f]{64})?$/i.test(
      image,
    ) && !/\/[^/]*[A-Z][^/:@]*/.test(image.replace(/[:@][^/]*$/, ""))
  );
}

function formatSeconds(ms: number): string {
  return ms < 1000 ? `${Math.max(1, Math.round(ms))}ms` : `${(ms / 1000).toFixed(3).replace(/\.?0+$/, "")}s`;
}
