import { messageOf, randomHex, rfc3339, rfc3339Micro, type Clock, type Logger, type Random } from "../base/index.ts";
import type { k8s } from "../api/index.ts";
import type { KubeClient } from "./client.ts";
import type { AnyObject } from "./resource.ts";
import { resources } from "./resources.ts";
import { isNamespaceTerminating } from "./status.ts";
import { hasCode } from "../base/index.ts";

/** What an event is about: an object, or one field of it (`spec.containers{web}`). */
export type EventSubject = AnyObject & { readonly fieldPath?: string };

export interface EventRecorder {
  /** Never waits and never throws: an event that cannot be recorded is dropped. */
  event(about: EventSubject, type: "Normal" | "Warning", reason: string, message: string, action?: string): void;
}

export interface EventRecorderOptions {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  /** `deployment-controller`, `default-scheduler`, `kubelet`. */
  readonly component: string;
  /** The node's name for a kubelet, else the process's. */
  readonly host?: string;
  /** Upstream's scheduler writes events.k8s.io/v1, its controllers and kubelet core/v1. */
  readonly api?: "core" | "events";
}

/** Events waiting to be written; more are dropped, as upstream's full channel drops them. */
const MAX_WAITING = 1_000;
const MAX_REMEMBERED = 4_096;
/** One object may emit this many events at once, then one each 5 minutes (upstream's spam filter). */
const SPAM_BURST = 25;
const SPAM_REFILL_MS = 300_000;
const MAX_MESSAGE = 1_024;
/** Sustained writes a second: events must not starve the work they tell about. */
const WRITES_PER_SECOND = 100;
const WRITE_BURST = 500;
/** Similar events (all but the message) within ten minutes are folded into one from here on. */
const AGGREGATE_AFTER = 10;
const AGGREGATE_WINDOW_MS = 600_000;

interface Remembered {
  name: string;
  namespace: string;
  count: number;
  firstMs: number;
}
interface Pending {
  readonly about: AnyObject;
  readonly type: "Normal" | "Warning";
  readonly reason: string;
  readonly message: string;
  readonly action: string;
  readonly atMs: number;
}

export function createEventRecorder(options: EventRecorderOptions): EventRecorder {
  return new Recorder(options);
}

class Recorder implements EventRecorder {
  readonly #options: EventRecorderOptions;
  readonly #waiting: Pending[] = [];
  readonly #remembered = new Map<string, Remembered>();
  readonly #similar = new Map<string, { messages: Set<string>; sinceMs: number }>();
  readonly #budgets = new Map<string, { tokens: number; atMs: number }>();
  #writing = false;
  #tokens = WRITE_BURST;
  #tokensAtMs: number;

  constructor(options: EventRecorderOptions) {
    this.#options = options;
    this.#tokensAtMs = options.clock.monotonicMs();
  }

  event(about: AnyObject, type: "Normal" | "Warning", reason: string, message: string, action = reason): void {
    if (this.#waiting.length >= MAX_WAITING || !this.#mayEmit(about)) return;
    const text = message.length > MAX_MESSAGE ? message.slice(0, MAX_MESSAGE - 3) + "..." : message;
    this.#waiting.push({ about, type, reason, message: text, action, atMs: this.#options.clock.nowMs() });
    if (!this.#writing) void this.#drain();
  }

  async #drain(): Promise<void> {
    this.#writing = true;
    try {
      for (let next = this.#waiting.shift(); next; next = this.#waiting.shift()) {
        await this.#throttle();
        await this.#write(next).catch((error: unknown) => {
          if (isNamespaceTerminating(error)) return;
          this.#options.log.debug("an event was not recorded", { error: messageOf(error) });
        });
      }
    } finally {
      this.#writing = false;
    }
  }

  async #throttle(): Promise<void> {
    const { clock } = this.#options;
    const nowMs = clock.monotonicMs();
    this.#tokens = Math.min(WRITE_BURST, this.#tokens + ((nowMs - this.#tokensAtMs) / 1000) * WRITES_PER_SECOND);
    this.#tokensAtMs = nowMs;
    if (this.#tokens < 1) await clock.sleep(1000 / WRITES_PER_SECOND);
    this.#tokens -= 1;
  }

  #mayEmit(about: AnyObject): boolean {
    const nowMs = this.#options.clock.monotonicMs();
    const key = `${about.kind}/${about.metadata?.namespace}/${about.metadata?.name}/${about.metadata?.uid}`;
    const budget = this.#budgets.get(key) ?? { tokens: SPAM_BURST, atMs: nowMs };
    budget.tokens = Math.min(SPAM_BURST, budget.tokens + (nowMs - budget.atMs) / SPAM_REFILL_MS);
    budget.atMs = nowMs;
    remember(this.#budgets, key, budget);
    if (budget.tokens < 1) return false;
    budget.tokens -= 1;
    return true;
  }

  async #write(pending: Pending): Promise<void> {
    const event = this.#aggregated(pending);
    const key = [referenceKey(event.about), event.type, event.reason, event.message].join("\u0000");
    const known = this.#remembered.get(key);
    if (known) {
      known.count++;
      try {
        await this.#repeat(known, event);
        return;
      } catch (error) {
        if (!hasCode(error, "notFound")) throw error;
      }
    }
    const namespace = event.about.metadata?.namespace || "default";
    const name = `${event.about.metadata?.name}.${randomHex(this.#options.random, 8)}`;
    const fresh: Remembered = { name, namespace, count: 1, firstMs: event.atMs };
    remember(this.#remembered, key, fresh);
    await this.#create(fresh, event);
  }

  #aggregated(event: Pending): Pending {
    const key = [referenceKey(event.about), event.type, event.reason].join("\u0000");
    let group = this.#similar.get(key);
    if (!group || event.atMs - group.sinceMs > AGGREGATE_WINDOW_MS)
      group = { messages: new Set(), sinceMs: event.atMs };
    remember(this.#similar, key, group);
    if (group.messages.size < AGGREGATE_AFTER) group.messages.add(event.message);
    if (group.messages.size < AGGREGATE_AFTER || group.messages.has(event.message)) return event;
    return { ...event, message: `(combined from similar events): ${event.message}` };
  }

  async #create(at: Remembered, event: Pending): Promise<void> {
    const { client, component, host, api } = this.#options;
    const metadata = { name: at.name, namespace: at.namespace };
    if (api === "events") {
      const body: k8s.EventsEvent = {
        metadata,
        eventTime: rfc3339Micro(event.atMs),
        type: event.type,
        reason: event.reason,
        action: event.action,
        note: event.message,
        regarding: referenceTo(event.about),
        reportingController: component,
        reportingInstance: host ? `${component}-${host}` : component,
      };
      await client.of(resources.events).create(body);
      return;
    }
    const body: k8s.Event = {
      metadata,
      type: event.type,
      reason: event.reason,
      message: event.message,
      involvedObject: referenceTo(event.about),
      source: host ? { component, host } : { component },
      firstTimestamp: rfc3339(event.atMs),
      lastTimestamp: rfc3339(event.atMs),
      count: 1,
      reportingComponent: component,
      reportingInstance: host ?? "",
    } as k8s.Event;
    await client.of(resources.coreEvents).create(body);
  }

  async #repeat(known: Remembered, event: Pending): Promise<void> {
    const { client, api } = this.#options;
    if (api === "events") {
      const series = { count: known.count, lastObservedTime: rfc3339Micro(event.atMs) };
      await client.of(resources.events).patch(known, { series });
      return;
    }
    const patch = { count: known.count, lastTimestamp: rfc3339(event.atMs) };
    await client.of(resources.coreEvents).patch(known, patch);
  }
}

/** Keeps the map's newest entries only. */
function remember<V>(map: Map<string, V>, key: string, value: V): void {
  map.delete(key);
  map.set(key, value);
  if (map.size > MAX_REMEMBERED) map.delete(map.keys().next().value!);
}

function referenceKey(about: AnyObject): string {
  return `${about.kind}/${about.metadata?.namespace ?? ""}/${about.metadata?.name}/${about.metadata?.uid}/${(about as EventSubject).fieldPath ?? ""}`;
}

export function referenceTo(object: AnyObject): k8s.ObjectReference {
  const { name, namespace, uid, resourceVersion } = object.metadata ?? {};
  const { fieldPath } = object as EventSubject;
  return {
    apiVersion: object.apiVersion,
    kind: object.kind,
    name,
    namespace,
    uid,
    resourceVersion,
    ...(fieldPath ? { fieldPath } : {}),
  };
}
