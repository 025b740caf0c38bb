/** Docker's event message, https://docs.docker.com/reference/api/engine/ (SystemEvents). */
export type EventType =
  | "builder"
  | "config"
  | "container"
  | "daemon"
  | "image"
  | "network"
  | "node"
  | "plugin"
  | "secret"
  | "service"
  | "volume";

export interface EngineEvent {
  readonly Type: EventType;
  /** `create`, `start`, `die`, `exec_start: CMD`, … */
  readonly Action: string;
  readonly Actor: { readonly ID: string; readonly Attributes: Readonly<Record<string, string>> };
  readonly scope: "local";
  /** Seconds since the epoch. */
  readonly time: number;
  readonly timeNano: number;
  /** Old fields that clients still read, for containers and images only. */
  readonly status?: string;
  readonly id?: string;
  readonly from?: string;
}

export interface EventQuery {
  /** Milliseconds since the epoch, inclusive; replays remembered events from there. */
  readonly sinceMs?: number;
  /** Milliseconds since the epoch; the stream ends when that time is reached. */
  readonly untilMs?: number;
  /** Docker's event filters: type, event, container, image, label, network, volume, daemon, scope. */
  readonly filters?: Readonly<Record<string, readonly string[]>>;
  readonly signal?: AbortSignal;
}

export interface EventBus {
  publish(type: EventType, action: string, id: string, attributes?: Readonly<Record<string, string>>): void;
  /** A slow reader is failed with `resourceExhausted` instead of growing memory. */
  subscribe(query?: EventQuery): AsyncIterable<EngineEvent>;
  /** Called synchronously for each event; returns how to stop. For rooms that react (health, restart). */
  on(listener: (event: EngineEvent) => void): () => void;
  /** How many subscriptions are being read. */
  subscribers(): number;
  close(): void;
}
