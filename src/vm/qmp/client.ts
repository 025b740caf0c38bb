import net from "node:net";
import {
  BerthError,
  deadlineExceeded,
  internal,
  notFound,
  unavailable,
  PushQueue,
  type Clock,
} from "../../base/index.ts";

/**
 * QEMU's machine protocol (https://www.qemu.org/docs/master/interop/qmp-spec.html): JSON lines over a unix socket; a greeting, capabilities, then
 * commands with ids and events in between.
 */
export interface QmpEvent {
  readonly event: string;
  readonly data: Readonly<Record<string, unknown>>;
  /** Milliseconds since the epoch, as QEMU saw it. */
  readonly atMs: number;
}

interface Waiting {
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

const MAX_LINE_BYTES = 16 * 1024 * 1024;
const DEFAULT_TIMEOUT_MS = 30_000;

export class QmpClient implements AsyncDisposable {
  readonly #socket: net.Socket;
  readonly #clock: Clock;
  readonly #waiting = new Map<string, Waiting>();
  readonly #listeners = new Set<PushQueue<QmpEvent>>();
  readonly #greeted = Promise.withResolvers<void>();
  #pending = "";
  #sequence = 0;
  #ended = false;

  private constructor(socket: net.Socket, clock: Clock) {
    this.#socket = socket;
    this.#clock = clock;
    socket.setEncoding("utf8");
    socket.on("data", (text: string) => this.#receive(text));
    socket.on("error", () => {});
    socket.on("close", () => this.#end());
    this.#greeted.promise.catch(() => {});
  }

  /** Connects and leaves negotiation mode. Throws unavailable when nobody listens. */
  static async connect(path: string, clock: Clock): Promise<QmpClient> {
    const socket = net.connect({ path });
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", resolve);
      socket.once("error", (cause) => reject(unavailable(`no machine answers at ${path}`, { cause })));
    });
    const client = new QmpClient(socket, clock);
    await client.#greeted.promise;
    await client.execute("qmp_capabilities");
    return client;
  }

  /** Sends a command and waits for its answer. QEMU's refusal becomes an error with its class in `details.class`. */
  async execute<T = unknown>(
    command: string,
    args?: Readonly<Record<string, unknown>>,
    timeoutMs = DEFAULT_TIMEOUT_MS,
  ): Promise<T> {
    if (this.#ended) throw unavailable("the machine's monitor is gone");
    const id = String(++this.#sequence);
    const answer = Promise.withResolvers<unknown>();
    this.#waiting.set(id, answer);
    const timer = this.#clock.after(timeoutMs, () =>
      answer.reject(deadlineExceeded(`the machine did not answer ${command} within ${timeoutMs / 1000} s`)),
    );
    this.#socket.write(JSON.stringify({ execute: command, ...(args ? { arguments: args } : {}), id }) + "\n");
    try {
      return (await answer.promise) as T;
    } finally {
      timer.cancel();
      this.#waiting.delete(id);
    }
  }

  /** Events from now on, until the monitor is gone or the signal aborts. */
  events(signal?: AbortSignal): AsyncIterable<QmpEvent> {
    const queue = new PushQueue<QmpEvent>();
    if (this.#ended) queue.end();
    this.#listeners.add(queue);
    signal?.addEventListener(
      "abort",
      () => {
        this.#listeners.delete(queue);
        queue.end();
      },
      { once: true },
    );
    return queue;
  }

  get closed(): boolean {
    return this.#ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.destroy();
    this.#end();
  }

  #receive(text: string): void {
    const lines = (this.#pending + text).split("\n");
    this.#pending = lines.pop()!;
    if (this.#pending.length > MAX_LINE_BYTES) return void this.#socket.destroy();
    for (const line of lines) if (line.trim() !== "") this.#handle(JSON.parse(line) as Message);
  }

  #handle(message: Message): void {
    if (message.QMP) return this.#greeted.resolve();
    if (message.event) {
      const { seconds, microseconds } = message.timestamp ?? { seconds: 0, microseconds: 0 };
      for (const queue of this.#listeners)
        queue.push({ event: message.event, data: message.data ?? {}, atMs: seconds * 1000 + microseconds / 1000 });
      return;
    }
    const waiting = this.#waiting.get(message.id ?? "");
    if (message.error) waiting?.reject(errorOf(message.error));
    else waiting?.resolve(message.return);
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    const gone = unavailable("the machine's monitor is gone");
    this.#greeted.reject(gone);
    for (const waiting of this.#waiting.values()) waiting.reject(gone);
    for (const queue of this.#listeners) queue.end();
  }
}

interface Message {
  readonly QMP?: unknown;
  readonly event?: string;
  readonly data?: Record<string, unknown>;
  readonly timestamp?: { seconds: number; microseconds: number };
  readonly id?: string;
  readonly return?: unknown;
  readonly error?: { class: string; desc: string };
}

function errorOf({ class: kind, desc }: { class: string; desc: string }): BerthError {
  const make = kind === "DeviceNotFound" || kind === "CommandNotFound" ? notFound : internal;
  return make(`the machine refused: ${desc}`, { details: { class: kind } });
}
