import { messageOf, PushQueue, unavailable, type Clock } from "../../base/index.ts";
import { compacted } from "../errors.ts";
import type { StoreEvent, WatchBatch } from "../store.ts";
import { isConnectionLoss, isDenied, keyValue, type EtcdConnection, type WatchAnswer } from "./connection.ts";
import { endOf, FIRST_KEY } from "./keys.ts";

const RECONNECT_MS = 200;
const MAX_QUEUED_ANSWERS = 10_000;
/** A denial may mean that the token is stale: each is tried again with a new one, first the whole keyspace, then the prefix. */
const DENIALS_OF_WHOLE = 2;
const MAX_DENIALS = 3;

export interface EtcdWatchOptions {
  readonly connection: EtcdConnection;
  readonly clock: Clock;
  readonly prefix: string;
  readonly fromRevision: number;
  readonly progressMs: number | undefined;
  readonly signal: AbortSignal;
}

/**
 * One watch that outlives its connections: it goes on at another endpoint after the last revision it has seen whole.
 *
 * It watches the whole keyspace and leaves out what is not under the prefix. Every revision has an event, so that progress is what was seen:
 * exact, at once, and in order. etcd's own progress answers are neither in order with events before 3.4.25 and 3.5.8
 * (https://github.com/etcd-io/etcd/issues/15220) nor sent before they are asked for. Who may read the prefix only is served from it, with
 * those answers trusted as upstream's API server trusts them: up to the revision before, until told twice.
 */
export async function* watchEtcd(options: EtcdWatchOptions): AsyncGenerator<WatchBatch, void, undefined> {
  const { connection, clock, signal } = options;
  let next = Math.max(1, options.fromRevision);
  let denials = 0;
  while (!signal.aborted) {
    const used = connection.current;
    const isWhole = denials < DENIALS_OF_WHOLE;
    try {
      for await (const batch of isWhole ? wholeKeyspace(options, next) : prefixOnly(options, next)) {
        denials = isWhole ? 0 : DENIALS_OF_WHOLE;
        next = Math.max(next, batch.revision + 1);
        yield batch;
      }
      if (!signal.aborted) throw new Lost("etcd ended the watch");
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Denied) {
        if (++denials > MAX_DENIALS) throw denied(error);
        connection.forgetToken();
      } else if (isConnectionLoss(error) || error instanceof Lost) connection.leave(used);
      else throw error;
      await clock.sleep(RECONNECT_MS, signal).catch(() => undefined);
    }
  }
}

async function* wholeKeyspace(options: EtcdWatchOptions, from: number): AsyncGenerator<WatchBatch> {
  const { clock, prefix, progressMs } = options;
  let seen = from - 1;
  const tick = (answers: PushQueue<WatchAnswer | "progress">) => {
    if (progressMs === undefined) return () => {};
    const again = () => {
      answers.push("progress");
      timer = clock.after(progressMs, again);
    };
    let timer = clock.after(progressMs, again);
    return () => timer.cancel();
  };
  for await (const answer of answersFrom(options, { key: FIRST_KEY, range_end: FIRST_KEY }, from, tick)) {
    if (answer !== "progress") {
      if (answer.events.length === 0) continue;
      seen = answer.events.at(-1)!.kv.mod_revision;
      yield { revision: seen, events: eventsOf(answer).filter(({ kv }) => kv.key.startsWith(prefix)) };
    } else if (seen >= from) yield { revision: seen, events: [] };
  }
}

async function* prefixOnly(options: EtcdWatchOptions, from: number): AsyncGenerator<WatchBatch> {
  const { clock, prefix, progressMs } = options;
  let told = 0;
  const range = { key: prefix === "" ? FIRST_KEY : Buffer.from(prefix), range_end: endOf(prefix) };
  const ask = (_answers: unknown, write: (request: object) => void) => {
    if (progressMs === undefined) return () => {};
    const again = () => {
      write({ progress_request: {} });
      timer = clock.after(progressMs, again);
    };
    let timer = clock.after(progressMs, again);
    return () => timer.cancel();
  };
  for await (const answer of answersFrom(options, range, from, ask)) {
    if (answer === "progress") continue;
    if (answer.events.length > 0) {
      yield { revision: answer.events.at(-1)!.kv.mod_revision, events: eventsOf(answer) };
      continue;
    }
    const { revision } = answer.header;
    const trusted = revision === told ? revision : revision - 1;
    told = revision;
    if (trusted >= from) yield { revision: trusted, events: [] };
  }
}

class Denied extends Error {}
/** etcd ended the watch for a reason that another endpoint need not have. */
class Lost extends Error {}

const denied = (error: Error) =>
  unavailable(`etcd refuses the watch: ${error.message}`, {
    hint: "Give the user a role that may read and write the prefix /registry/.",
  });

async function* answersFrom(
  { connection, signal }: EtcdWatchOptions,
  range: object,
  from: number,
  begin: (answers: PushQueue<WatchAnswer | "progress">, write: (request: object) => void) => () => void,
): AsyncGenerator<WatchAnswer | "progress"> {
  const call = await connection.watch();
  const queue = new PushQueue<WatchAnswer | "progress">(MAX_QUEUED_ANSWERS);
  call.on("data", (answer: WatchAnswer) => {
    if (!answer.created || answer.canceled || answer.compact_revision > 0) queue.push(answer);
  });
  call.on("error", (error) => queue.fail(isDenied(error) ? new Denied(messageOf(error)) : error));
  call.on("end", () => queue.end());
  const stop = () => queue.end();
  signal.addEventListener("abort", stop, { once: true });
  call.write({ create_request: { ...range, start_revision: from } });
  const end = begin(queue, (request) => call.write(request));
  try {
    for await (const answer of queue) {
      if (answer !== "progress") assertGoesOn(answer, from);
      yield answer;
    }
  } finally {
    end();
    signal.removeEventListener("abort", stop);
    call.on("error", () => undefined);
    call.cancel();
  }
}

function assertGoesOn({ compact_revision, canceled, cancel_reason }: WatchAnswer, from: number): void {
  if (compact_revision > 0) throw compacted(from, compact_revision + 1);
  if (!canceled) return;
  if (/permission denied/.test(cancel_reason)) throw new Denied(cancel_reason);
  throw new Lost(`etcd ended the watch: ${cancel_reason}`);
}

function eventsOf({ events }: WatchAnswer): StoreEvent[] {
  return events.map(({ type, kv }) => ({ type: type === "PUT" ? "put" : "delete", kv: keyValue(kv) }));
}
