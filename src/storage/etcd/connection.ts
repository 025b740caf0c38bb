import { isIP } from "node:net";
import path from "node:path";
import { checkServerIdentity } from "node:tls";
import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { invalidArgument, unavailable } from "../../base/index.ts";
import type { KeyValue } from "../store.ts";
import type { EtcdStoreOptions } from "./options.ts";

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

const DEFAULT_TIMEOUT_MS = 5000;
const SETTINGS = {
  "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
  "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
  "grpc.keepalive_time_ms": 10_000,
  "grpc.keepalive_timeout_ms": 3000,
  "grpc.max_reconnect_backoff_ms": 1000,
  "grpc.initial_reconnect_backoff_ms": 100,
};

interface Services {
  readonly KV: grpc.ServiceClientConstructor;
  readonly Watch: grpc.ServiceClientConstructor;
  readonly Auth: grpc.ServiceClientConstructor;
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

interface Endpoint {
  readonly kv: grpc.Client;
  readonly watch: grpc.Client;
  readonly auth: grpc.Client;
}
type Unary = (
  request: object,
  metadata: grpc.Metadata,
  options: grpc.CallOptions,
  done: grpc.requestCallback<unknown>,
) => void;

/** Clients of every endpoint; one is in use until it fails. */
export class EtcdConnection {
  readonly #endpoints: readonly Endpoint[];
  readonly #options: EtcdStoreOptions;
  readonly #nowMs: () => number;
  #current = 0;
  #token: Promise<string> | undefined;

  constructor(options: EtcdStoreOptions, nowMs: () => number) {
    const { KV, Watch, Auth } = load();
    if (options.endpoints.length === 0) throw invalidArgument("no endpoint of etcd is given");
    this.#options = options;
    this.#nowMs = nowMs;
    this.#endpoints = options.endpoints.map((endpoint) => {
      const { host, hostname: bracketed, protocol } = new URL(endpoint);
      const hostname = bracketed.replace(/^\[|\]$/g, "");
      const credentials = protocol === "https:" ? secure(options, hostname) : grpc.credentials.createInsecure();
      const settings = isIP(hostname) ? { ...SETTINGS, "grpc.ssl_target_name_override": NAME_OF_ADDRESS } : SETTINGS;
      const [kv, watch, auth] = [KV, Watch, Auth].map((Client) => new Client(host, credentials, settings));
      return { kv: kv!, watch: watch!, auth: auth! };
    });
  }

  /** The endpoint in use, for `leave`. */
  get current(): number {
    return this.#current;
  }

  /** One call to the endpoint in use. A failed endpoint is left for the next one. */
  async call<T>(method: "Range" | "Txn" | "Compact", request: object): Promise<T> {
    const token = await this.#authenticated();
    try {
      return await this.#unary<T>("kv", method, request, token);
    } catch (error) {
      // Refused before anything was done: tokens expire, and are forgotten when etcd restarts.
      if (token === undefined || !isStaleToken(error)) throw error;
      this.#token = undefined;
      return this.#unary<T>("kv", method, request, await this.#authenticated());
    }
  }

  /** Calls that change nothing are tried at every endpoint. */
  async read<T>(method: "Range", request: object): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.call<T>(method, request);
      } catch (error) {
        if (!isConnectionLoss(error)) throw error;
        if (attempt >= this.#endpoints.length + 1)
          throw unavailable("no endpoint of etcd answers", {
            cause: error,
            hint: "Check that etcd runs and its certificates fit.",
          });
      }
    }
  }

  /** A member that has lost its cluster ends the watch, where it would otherwise stay silent. */
  async watch(): Promise<WatchCall> {
    const metadata = metadataWith(await this.#authenticated());
    metadata.set("hasleader", "true");
    const { watch } = this.#endpoints[this.#current]!;
    return (watch as unknown as { Watch(metadata: grpc.Metadata): WatchCall }).Watch(metadata);
  }

  /** Goes on to the next endpoint, unless somebody else has left this one already. Whoever is there is asked for a token of its own. */
  leave(endpoint: number): void {
    this.forgetToken();
    if (endpoint === this.#current) this.#current = (endpoint + 1) % this.#endpoints.length;
  }

  forgetToken(): void {
    this.#token = undefined;
  }

  close(): void {
    for (const endpoint of this.#endpoints)
      for (const client of Object.values(endpoint)) (client as grpc.Client).close();
  }

  #authenticated(): Promise<string | undefined> {
    const { user } = this.#options;
    if (!user) return Promise.resolve(undefined);
    if (!this.#token) {
      const asked = this.#unary<{ token: string }>("auth", "Authenticate", user, undefined).then(({ token }) => token);
      this.#token = asked;
      asked.catch(() => (this.#token = this.#token === asked ? undefined : this.#token));
    }
    return this.#token;
  }

  #unary<T>(service: keyof Endpoint, method: string, request: object, token: string | undefined): Promise<T> {
    const used = this.#current;
    const client = this.#endpoints[used]![service] as unknown as Record<string, Unary>;
    const metadata = metadataWith(token, { waitForReady: this.#endpoints.length === 1 });
    const deadline = this.#nowMs() + (this.#options.timeoutMs ?? DEFAULT_TIMEOUT_MS);
    return new Promise((resolve, reject) => {
      client[method]!(request, metadata, { deadline }, (error, answer) => {
        if (!error) return resolve(answer as T);
        if (isConnectionLoss(error)) this.leave(used);
        reject(error);
      });
    });
  }
}

function metadataWith(token: string | undefined, options?: grpc.MetadataOptions): grpc.Metadata {
  const metadata = new grpc.Metadata(options);
  if (token !== undefined) metadata.set("token", token);
  return metadata;
}

/** TLS names no addresses (RFC 6066); the certificate is held against the address all the same. */
const NAME_OF_ADDRESS = "localhost";

function secure({ tls }: EtcdStoreOptions, hostname: string): grpc.ChannelCredentials {
  const bytes = (pem: string | undefined) => (pem === undefined ? null : Buffer.from(pem));
  return grpc.credentials.createSsl(bytes(tls?.ca), bytes(tls?.key), bytes(tls?.cert), {
    checkServerIdentity: (_name, certificate) => checkServerIdentity(hostname, certificate),
  });
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
export function isDenied(error: unknown): boolean {
  return (error as { code?: grpc.status }).code === grpc.status.PERMISSION_DENIED;
}

/** etcd says so by the code, and by the text alone where roles changed after the token was made. */
function isStaleToken(error: unknown): boolean {
  const { code, details = "" } = error as { code?: grpc.status; details?: string };
  return code === grpc.status.UNAUTHENTICATED || /auth store is old/.test(details);
}

export function keyValue({ key, value, create_revision, mod_revision, version }: WireKeyValue): KeyValue {
  return { key: key.toString(), value, createRevision: create_revision, modRevision: mod_revision, version };
}
