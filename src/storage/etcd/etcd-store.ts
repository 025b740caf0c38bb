import {
  failedPrecondition,
  invalidArgument,
  messageOf,
  systemClock,
  unavailable,
  type Clock,
} from "../../base/index.ts";
import { compacted } from "../errors.ts";
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
import { EtcdConnection, isInvalid, isOutOfRange, keyValue, type RangeAnswer, type TxnAnswer } from "./connection.ts";
import { endOf, FIRST_KEY } from "./keys.ts";
import type { EtcdStoreOptions } from "./options.ts";
import { watchEtcd } from "./watch.ts";

/** Read to learn the revision: a key that whoever may use this prefix may read. */
const PROBE_KEY = Buffer.from("/registry/");

/**
 * etcd 3 refuses messages beyond 1.5 MiB and transactions beyond 128 operations unless it is told otherwise. Throws `unavailable` when no
 * endpoint answers.
 */
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
    const { header } = await this.#range({ key: PROBE_KEY, count_only: true }, undefined);
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
    const request = { key: key.length === 0 ? FIRST_KEY : key, range_end: endOf(prefix), revision, limit };
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

  watch(prefix: string, fromRevision: number, options: WatchOptions = {}): AsyncGenerator<WatchBatch, void, undefined> {
    const signal = AbortSignal.any([this.#closing.signal, ...(options.signal ? [options.signal] : [])]);
    const { progressMs } = options;
    return watchEtcd({ connection: this.#connection, clock: this.#clock, prefix, fromRevision, progressMs, signal });
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
    try {
      for await (const _batch of this.watch("", Math.max(1, revision - 1))) break;
    } catch (error) {
      const known = (error as { details?: { compactRevision?: number } }).details?.compactRevision;
      if (known !== undefined) return known;
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
}
