import {
  failedPrecondition,
  invalidArgument,
  messageOf,
  PushQueue,
  systemClock,
  unavailable,
  type Clock,
} from "../../base/index.ts";
import { compacted } from "../embedded/embedded-store.ts";
import type {
  CommitResult,
  Compare,
  KeyValue,
  Put,
  RangeOptions,
  RangeResult,
  Store,
  WatchBatch,
  WatchOptions,
} from "../store.ts";
import {
  EtcdConnection,
  isConnectionLoss,
  isInvalid,
  isOutOfRange,
  type RangeAnswer,
  type TxnAnswer,
  type WatchAnswer,
  type WireKeyValue,
} from "./connection.ts";

export interface EtcdStoreOptions {
  /** `http://host:2379` or `https://…`, one or several of one cluster. */
  readonly endpoints: readonly string[];
  /** PEM. */
  readonly tls?: { readonly ca?: string; readonly cert?: string; readonly key?: string };
  readonly clock?: Clock;
  /** For one call. 5 s by default. */
  readonly timeoutMs?: number;
}

const RECONNECT_MS = 200;
const MAX_QUEUED_ANSWERS = 10_000;
/** etcd 3 refuses messages beyond 1.5 MiB and transactions beyond 128 operations unless it is told otherwise. */

export async function openEtcdStore(options: EtcdStoreOptions): Promise<Store> {
  const clock = options.clock ?? systemClock;
  const store = new EtcdStore(new EtcdConnection(options, () => clock.nowMs()), clock);
  try {
    await store.revision();
  } catch (error) {
    await store.close();
    throw error;
  }
  return store;
}

class EtcdStore implements Store {
  readonly #connection: EtcdConnection;
  readonly #clock: Clock;
  readonly #closing = new AbortController();

  constructor(connection: EtcdConnection, clock: Clock) {
    this.#connection = connection;
    this.#clock = clock;
  }

  async revision(): Promise<number> {
    const { header } = await this.#range({ key: Buffer.from("\0"), limit: 1, count_only: true }, undefined);
    return header.revision;
  }

  async get(
    key: string,
    { revision }: { revision?: number } = {},
  ): Promise<{ kv: KeyValue | undefined; revision: number }> {
    const { kvs, header } = await this.#range({ key: Buffer.from(key), revision }, revision);
    return { kv: kvs[0] && keyValue(kvs[0]), revision: header.revision };
  }

  async range(prefix: string, options: RangeOptions = {}): Promise<RangeResult> {
    const { revision, limit, from } = options;
    const key = Buffer.from(
      from !== undefined && Buffer.compare(Buffer.from(from), Buffer.from(prefix)) > 0 ? from : prefix,
    );
    const request = { key: key.length === 0 ? Buffer.from("\0") : key, range_end: endOf(prefix), revision, limit };
    const { kvs, more, count, header } = await this.#range(request, revision);
    return { kvs: kvs.map(keyValue), revision: header.revision, more, count };
  }

  async commit(compares: readonly Compare[], puts: readonly Put[], deletes: readonly string[]): Promise<CommitResult> {
    this.#assertOpen();
    const request = {
      compare: compares.map(({ key, modRevision }) => ({
        result: "EQUAL",
        target: "MOD",
        key: Buffer.from(key),
        mod_revision: modRevision,
      })),
      success: [
        ...puts.map(({ key, value }) => ({ request_put: { key: Buffer.from(key), value } })),
        ...deletes.map((key) => ({ request_delete_range: { key: Buffer.from(key) } })),
      ],
      failure: compares.map(({ key }) => ({ request_range: { key: Buffer.from(key) } })),
    };
    const answer = await this.#call<TxnAnswer>("Txn", request);
    const { succeeded, header, responses } = answer;
    const current = succeeded ? [] : responses.flatMap(({ response_range }) => response_range?.kvs.map(keyValue) ?? []);
    return { succeeded, revision: header.revision, current };
  }

  /** Survives lost connections: it goes on at another endpoint after the last revision it has seen whole. */
  async *watch(
    prefix: string,
    fromRevision: number,
    options: WatchOptions = {},
  ): AsyncGenerator<WatchBatch, void, undefined> {
    const signal = AbortSignal.any([this.#closing.signal, ...(options.signal ? [options.signal] : [])]);
    let next = Math.max(1, fromRevision);
    while (!signal.aborted) {
      try {
        for await (const answer of this.#answers(prefix, next, options.progressMs, signal)) {
          if (answer.compact_revision > 0) throw compacted(next, answer.compact_revision + 1);
          if (answer.canceled) throw unavailable(`etcd ended the watch: ${answer.cancel_reason}`);
          const batch = batchOf(answer);
          if (batch.revision < next && batch.events.length === 0) continue;
          next = batch.revision + 1;
          yield batch;
        }
      } catch (error) {
        if (signal.aborted) return;
        if (!isConnectionLoss(error)) throw error;
        this.#connection.rotate();
        await this.#clock.sleep(RECONNECT_MS, signal).catch(() => undefined);
      }
    }
  }

  /** Revisions before this one go; etcd keeps what it needs to answer at the one it is told, so that is the one before. */
  async compact(revision: number): Promise<void> {
    if (revision <= 1) return;
    try {
      await this.#call("Compact", { revision: revision - 1 });
    } catch (error) {
      if (isOutOfRange(error) || isOutOfRange((error as Error).cause)) {
        if (/future/.test(messageOf(error)))
          throw invalidArgument(`revision ${revision} cannot be compacted: it is in the future`);
        return;
      }
      throw error;
    }
  }

  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort();
    this.#connection.close();
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #assertOpen(): void {
    if (this.#closing.signal.aborted) throw failedPrecondition("the store is closed");
  }

  async #range(request: object, revision: number | undefined): Promise<RangeAnswer> {
    this.#assertOpen();
    try {
      return await this.#connection.read<RangeAnswer>("Range", request);
    } catch (error) {
      if (!isOutOfRange(error)) throw error;
      if (/compacted/.test(messageOf(error))) throw compacted(revision!, await this.#compactRevision(revision!));
      throw invalidArgument(`revision ${revision} is in the future`, { cause: error });
    }
  }

  /** Only a watch tells how far etcd is compacted. */
  async #compactRevision(revision: number): Promise<number> {
    const signal = AbortSignal.any([this.#closing.signal]);
    for await (const answer of this.#answers("\0", Math.max(1, revision - 1), undefined, signal)) {
      if (answer.compact_revision > 0) return answer.compact_revision + 1;
      break;
    }
    return revision + 1;
  }

  async #call<T>(method: "Txn" | "Compact", request: object): Promise<T> {
    try {
      return await this.#connection.call<T>(method, request);
    } catch (error) {
      if (isInvalid(error)) throw invalidArgument(messageOf(error), { cause: error });
      if (isOutOfRange(error)) throw error;
      throw unavailable("etcd didn't say whether the change was made", { cause: error });
    }
  }

  async *#answers(
    prefix: string,
    from: number,
    progressMs: number | undefined,
    signal: AbortSignal,
  ): AsyncGenerator<WatchAnswer> {
    const call = this.#connection.watch();
    const queue = new PushQueue<WatchAnswer>(MAX_QUEUED_ANSWERS);
    call.on("data", (answer: WatchAnswer) => {
      if (!answer.created || answer.canceled || answer.compact_revision > 0) queue.push(answer);
    });
    call.on("error", (error) => queue.fail(error));
    call.on("end", () => queue.end());
    const stop = () => queue.end();
    signal.addEventListener("abort", stop, { once: true });
    const key = Buffer.from(prefix === "" ? "\0" : prefix);
    call.write({ create_request: { key, range_end: endOf(prefix), start_revision: from } });
    const ask = () => {
      call.write({ progress_request: {} });
      timer = this.#clock.after(progressMs!, ask);
    };
    let timer = progressMs ? this.#clock.after(progressMs, ask) : undefined;
    try {
      yield* queue;
    } finally {
      timer?.cancel();
      signal.removeEventListener("abort", stop);
      call.on("error", () => undefined);
      call.cancel();
    }
  }
}

function batchOf({ header, events }: WatchAnswer): WatchBatch {
  const last = events.at(-1);
  return {
    revision: last ? last.kv.mod_revision : header.revision,
    events: events.map(({ type, kv }) => ({ type: type === "PUT" ? "put" : "delete", kv: keyValue(kv) })),
  };
}

function keyValue({ key, value, create_revision, mod_revision, version }: WireKeyValue): KeyValue {
  return { key: key.toString(), value, createRevision: create_revision, modRevision: mod_revision, version };
}

/** The first key after all that begin with the prefix; `\0` means: to the end. */
function endOf(prefix: string): Buffer {
  const end = Buffer.from(prefix);
  for (let at = end.length - 1; at >= 0; at--) {
    if (end[at]! < 0xff) {
      end[at]!++;
      return end.subarray(0, at + 1);
    }
  }
  return Buffer.from("\0");
}
