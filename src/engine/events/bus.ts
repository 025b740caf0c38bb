import { PushQueue, type Clock } from "../../base/index.ts";
import type { EngineEvent, EventBus, EventQuery, EventType } from "./types.ts";

/** As many as dockerd remembers, for `docker events --since`. */
const REMEMBERED = 256;
/** A reader this far behind is let go. */
const MAX_BEHIND = 10_000;

export class MemoryEventBus implements EventBus {
  readonly #clock: Clock;
  readonly #past: EngineEvent[] = [];
  readonly #listeners = new Set<(event: EngineEvent) => void>();
  readonly #queues = new Set<PushQueue<EngineEvent>>();
  #lastNano = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  publish(type: EventType, action: string, id: string, attributes: Readonly<Record<string, string>> = {}): void {
    const event = this.#make(type, action, id, attributes);
    if (this.#past.push(event) > REMEMBERED) this.#past.shift();
    for (const listener of this.#listeners) listener(event);
  }

  /** Listens from the moment of the call, not of the first read. Ends with the signal, or when its reader stops. */
  subscribe(query: EventQuery = {}): AsyncGenerator<EngineEvent> {
    const queue = new PushQueue<EngineEvent>(MAX_BEHIND);
    const wanted = eventFilter(query);
    // As dockerd: who says until when, wants what was, too.
    const past = query.sinceMs !== undefined || query.untilMs !== undefined ? this.#past : [];
    for (const event of past) if (wanted(event)) queue.push(event);
    const stopListening = this.on((event) => {
      if (wanted(event)) queue.push(event);
    });
    const leftMs = query.untilMs === undefined ? undefined : query.untilMs - this.#clock.nowMs();
    const timer = leftMs === undefined ? undefined : this.#clock.after(leftMs, () => end());
    const end = () => {
      timer?.cancel();
      stopListening();
      queue.end();
      this.#queues.delete(queue);
      query.signal?.removeEventListener("abort", end);
    };
    this.#queues.add(queue);
    query.signal?.addEventListener("abort", end, { once: true });
    if (query.signal?.aborted || (leftMs !== undefined && leftMs <= 0)) end();
    return reading(queue, end);
  }

  on(listener: (event: EngineEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  subscribers(): number {
    return this.#queues.size;
  }

  close(): void {
    for (const queue of this.#queues) queue.end();
  }

  #make(type: EventType, action: string, id: string, attributes: Readonly<Record<string, string>>): EngineEvent {
    const nowMs = this.#clock.nowMs();
    // Whole microseconds are what a double holds today; strictly rising, so that a client can resume behind the last one it saw.
    const timeNano = Math.max(Math.floor(nowMs * 1000) * 1000, this.#lastNano + 1000);
    this.#lastNano = timeNano;
    const old =
      type === "container" || type === "image"
        ? { status: action, id, ...(attributes["image"] !== undefined && { from: attributes["image"] }) }
        : {};
    const actor = { ID: id, Attributes: attributes };
    return {
      ...old,
      Type: type,
      Action: action,
      Actor: actor,
      scope: "local",
      time: Math.floor(nowMs / 1000),
      timeNano,
    };
  }
}

async function* reading(queue: PushQueue<EngineEvent>, end: () => void): AsyncGenerator<EngineEvent> {
  try {
    yield* queue;
  } finally {
    end();
  }
}

/** Values of one key are alternatives, keys must all hold (Docker's event filters). */
function eventFilter(query: EventQuery): (event: EngineEvent) => boolean {
  const filters = Object.entries(query.filters ?? {}).filter(([, values]) => values.length > 0);
  return (event) => {
    const ms = event.timeNano / 1e6;
    if (query.sinceMs !== undefined && ms < query.sinceMs) return false;
    if (query.untilMs !== undefined && ms > query.untilMs) return false;
    return filters.every(([key, values]) => values.some((value) => matches(event, key, value)));
  };
}

function matches(event: EngineEvent, key: string, value: string): boolean {
  const { ID, Attributes } = event.Actor;
  switch (key) {
    case "type":
      return event.Type === value;
    case "event":
      // `exec_start: sh -c …` is asked for as `exec_start`.
      return event.Action === value || event.Action.startsWith(`${value}:`);
    case "scope":
      return event.scope === value;
    case "label": {
      const [name, wanted] = splitOnce(value, "=");
      return Attributes[name] !== undefined && (wanted === undefined || Attributes[name] === wanted);
    }
    case "image":
      return event.Type === "image"
        ? isOrNames(ID, Attributes["name"], value)
        : isOrNames(Attributes["image"] ?? "", undefined, value);
    default:
      return event.Type === key && (ID.startsWith(value) || Attributes["name"] === value);
  }
}

function isOrNames(id: string, name: string | undefined, value: string): boolean {
  const bare = (text: string) => text.replace(/:[^/:]+$/, "");
  return id === value || name === value || bare(id) === value || (name !== undefined && bare(name) === value);
}

function splitOnce(text: string, by: string): [string, string | undefined] {
  const at = text.indexOf(by);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
}
