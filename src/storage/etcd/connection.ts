import path from "node:path";
import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { invalidArgument, unavailable } from "../../base/index.ts";
import type { EtcdStoreOptions } from "./etcd-store.ts";

/** etcd's messages as proto-loader hands them over. Numbers are whole: revisions stay far below 2^53. */
export interface WireKeyValue {
  readonly key: Buffer;
  readonly value: Buffer;
  readonly create_revision: number;
  readonly mod_revision: number;
  readonly version: number;
}
export interface Header {
  readonly revision: number;
}
export interface RangeAnswer {
  readonly header: Header;
  readonly kvs: readonly WireKeyValue[];
  readonly more: boolean;
  readonly count: number;
}
export interface TxnAnswer {
  readonly header: Header;
  readonly succeeded: boolean;
  readonly responses: ReadonlyArray<{ readonly response_range?: RangeAnswer }>;
}
export interface WatchAnswer {
  readonly header: Header;
  readonly created: boolean;
  readonly canceled: boolean;
  readonly compact_revision: number;
  readonly cancel_reason: string;
  readonly events: ReadonlyArray<{ readonly type: "PUT" | "DELETE"; readonly kv: WireKeyValue }>;
}
export type WatchCall = grpc.ClientDuplexStream<object, WatchAnswer>;

/** A list of a whole page of large objects must fit; etcd itself sends at most about 2 GiB. */
const MAX_MESSAGE_BYTES = 256 * 1024 * 1024;

interface Services {
  readonly KV: grpc.ServiceClientConstructor;
  readonly Watch: grpc.ServiceClientConstructor;
}

let services: Services | undefined;

function load(): Services {
  if (!services) {
    const definition = loadSync(path.join(import.meta.dirname, "rpc.proto"), {
      keepCase: true,
      longs: Number,
      enums: String,
      defaults: true,
    });
    services = (grpc.loadPackageDefinition(definition) as unknown as { etcdserverpb: Services }).etcdserverpb;
  }
  return services;
}

/** Clients of every endpoint; one is in use until it fails. */
export class EtcdConnection {
  readonly #clients: ReadonlyArray<{ readonly kv: grpc.Client; readonly watch: grpc.Client }>;
  readonly #timeoutMs: number;
  readonly #nowMs: () => number;
  #current = 0;

  constructor(options: EtcdStoreOptions, nowMs: () => number) {
    const { KV, Watch } = load();
    if (options.endpoints.length === 0) throw invalidArgument("no endpoint of etcd is given");
    this.#timeoutMs = options.timeoutMs ?? 5000;
    this.#nowMs = nowMs;
    this.#clients = options.endpoints.map((endpoint) => {
      const { host, protocol } = new URL(endpoint);
      const credentials = protocol === "https:" ? secure(options) : grpc.credentials.createInsecure();
      const settings = {
        "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
        "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
        "grpc.keepalive_time_ms": 10_000,
        "grpc.keepalive_timeout_ms": 3000,
        "grpc.max_reconnect_backoff_ms": 1000,
        "grpc.initial_reconnect_backoff_ms": 100,
      };
      return { kv: new KV(host, credentials, settings), watch: new Watch(host, credentials, settings) };
    });
  }

  get endpointCount(): number {
    return this.#clients.length;
  }

  /** One call to the endpoint in use. A failed endpoint is left for the next one. */
  call<T>(method: "Range" | "Txn" | "Compact", request: object): Promise<T> {
    const { kv } = this.#clients[this.#current]!;
    const metadata = new grpc.Metadata({ waitForReady: this.#clients.length === 1 });
    const deadline = this.#nowMs() + this.#timeoutMs;
    return new Promise((resolve, reject) => {
      type Unary = (
        request: object,
        metadata: grpc.Metadata,
        options: grpc.CallOptions,
        done: grpc.requestCallback<T>,
      ) => void;
      (kv as unknown as Record<string, Unary>)[method]!(request, metadata, { deadline }, (error, answer) => {
        if (!error) return resolve(answer!);
        if (isConnectionLoss(error)) this.rotate();
        reject(error);
      });
    });
  }

  /** Calls that change nothing are tried at every endpoint. */
  async read<T>(method: "Range", request: object): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.call<T>(method, request);
      } catch (error) {
        if (!isConnectionLoss(error)) throw error;
        if (attempt >= this.#clients.length + 1)
          throw unavailable("no endpoint of etcd answers", {
            cause: error,
            hint: "Check that etcd runs and its certificates fit.",
          });
      }
    }
  }

  watch(): WatchCall {
    const { watch } = this.#clients[this.#current]!;
    return (watch as unknown as { Watch(): WatchCall }).Watch();
  }

  rotate(): void {
    this.#current = (this.#current + 1) % this.#clients.length;
  }

  close(): void {
    for (const { kv, watch } of this.#clients) {
      kv.close();
      watch.close();
    }
  }
}

function secure({ tls }: EtcdStoreOptions): grpc.ChannelCredentials {
  const bytes = (pem: string | undefined) => (pem === undefined ? null : Buffer.from(pem));
  return grpc.credentials.createSsl(bytes(tls?.ca), bytes(tls?.key), bytes(tls?.cert));
}

const LOST: readonly grpc.status[] = [
  grpc.status.UNAVAILABLE,
  grpc.status.DEADLINE_EXCEEDED,
  grpc.status.UNKNOWN,
  grpc.status.INTERNAL,
];

export function isConnectionLoss(error: unknown): boolean {
  return LOST.includes((error as { code?: grpc.status }).code as grpc.status);
}

export function isOutOfRange(error: unknown): boolean {
  return (error as { code?: grpc.status }).code === grpc.status.OUT_OF_RANGE;
}
export function isInvalid(error: unknown): boolean {
  return (error as { code?: grpc.status }).code === grpc.status.INVALID_ARGUMENT;
}
