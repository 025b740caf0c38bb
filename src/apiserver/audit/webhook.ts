import { messageOf, type Clock, type Logger, type Timer } from "../../base/index.ts";
import { openRemoteWebhook, type RemoteWebhook } from "../remote-webhook.ts";

/** Upstream's --audit-webhook-* flags. https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/#webhook-backend */
export interface AuditWebhookOptions {
  /** A file of kubeconfig's form. */
  readonly configFile: string;
  /** Events that may wait; further ones are dropped, and said to be. */
  readonly bufferSize: number;
  readonly maxBatchSize: number;
  /** How long an event waits for others. */
  readonly maxWaitMs: number;
  /** Before a batch is sent again; doubles each time. */
  readonly backoffMs: number;
}

const TIMEOUT_MS = 30_000;
const ATTEMPTS = 5;

/** Sends audit events to a service outside, many at once. Nobody who is audited waits for it. */
export class AuditWebhook {
  readonly #webhook: RemoteWebhook;
  readonly #options: AuditWebhookOptions;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #stop = new AbortController();
  #waiting: string[] = [];
  #dropped = 0;
  #timer: Timer | undefined;
  #sending: Promise<void> | undefined;

  private constructor(webhook: RemoteWebhook, options: AuditWebhookOptions, clock: Clock, log: Logger) {
    this.#webhook = webhook;
    this.#options = options;
    this.#clock = clock;
    this.#log = log;
  }

  /** Throws invalidArgument for a file that names no service. */
  static async open(options: AuditWebhookOptions, clock: Clock, log: Logger): Promise<AuditWebhook> {
    return new AuditWebhook(await openRemoteWebhook(options.configFile), options, clock, log);
  }

  /** One event in JSON. */
  write(event: string): void {
    const { bufferSize, maxBatchSize, maxWaitMs } = this.#options;
    if (this.#waiting.length >= bufferSize) {
      this.#dropped++;
      return;
    }
    this.#waiting.push(event);
    if (this.#waiting.length >= maxBatchSize) this.#send();
    else this.#timer ??= this.#clock.after(maxWaitMs, () => this.#send());
  }

  /** Sends what waits, once; what can't be sent then is lost. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#sending;
    this.#send();
    await this.#sending;
  }

  #send(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#sending ??= this.#sendAll().finally(() => (this.#sending = undefined));
  }

  async #sendAll(): Promise<void> {
    const { maxBatchSize } = this.#options;
    do {
      const batch = this.#waiting.splice(0, maxBatchSize);
      if (batch.length > 0) await this.#sendBatch(batch);
    } while (this.#waiting.length >= maxBatchSize || (this.#stop.signal.aborted && this.#waiting.length > 0));
    if (this.#waiting.length > 0) this.#timer ??= this.#clock.after(this.#options.maxWaitMs, () => this.#send());
    if (this.#dropped > 0) this.#log.warn("audit events were dropped", { count: this.#dropped });
    this.#dropped = 0;
  }

  async #sendBatch(batch: readonly string[]): Promise<void> {
    const list = `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[${batch.join(",")}]}`;
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#webhook.send(list, TIMEOUT_MS);
      } catch (error) {
        if (attempt === ATTEMPTS || this.#stop.signal.aborted) {
          this.#log.error("audit events could not be sent", { count: batch.length, error: messageOf(error) });
          return;
        }
        const pauseMs = this.#options.backoffMs * 2 ** (attempt - 1);
        await this.#clock.sleep(pauseMs, this.#stop.signal).catch(() => {});
      }
    }
  }
}
