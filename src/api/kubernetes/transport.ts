import type { Duplex } from "node:stream";

/**
 * How anyone reaches a Kubernetes API server: the same request and response whether it crosses a TLS socket or, for
 * controllers in the daemon's own process, a function call. The API server is an `ApiHandler`; client/ speaks to one.
 */
export interface UserInfo {
  readonly name: string;
  readonly uid?: string;
  readonly groups: readonly string[];
  readonly extra?: Readonly<Record<string, readonly string[]>>;
}

export interface ApiRequest {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE" | "HEAD" | "OPTIONS";
  /** Path without the query, for example `/apis/apps/v1/namespaces/default/deployments`. */
  readonly path: string;
  readonly query: URLSearchParams;
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string | undefined>>;
  /** The body as it came over the wire. In-process callers may hand over `object` instead and save the encoding. */
  readonly body?: Uint8Array;
  readonly object?: unknown;
  /** Set by who has authenticated the caller already (the loopback client). Never taken from the wire. */
  readonly user?: UserInfo;
  readonly remoteAddress?: string;
  /**
   * The client's certificates in DER, its own first, as the TLS layer received them: present, not yet verified for us. Whoever
   * authenticates with them checks the chain. Never taken from a header.
   */
  readonly peerCertificates?: readonly Uint8Array[];
  /** Aborted when the caller goes away. */
  readonly signal?: AbortSignal;
}

export interface ApiResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** Exactly one of `body`, `events`, `chunks` and `takeover` is set. */
  readonly body?: Uint8Array;
  /**
   * A watch. Over HTTP each event becomes one line `{"type":…,"object":…}`; in process it is handed over as it is.
   * `json` is the object's encoding, made once when it was written; `object` is the same, parsed and frozen: not to be changed.
   */
  readonly events?: AsyncIterable<ApiWatchEvent>;
  /** Any other stream (logs). */
  readonly chunks?: AsyncIterable<Uint8Array>;
  /**
   * The answer to an `Upgrade` request: called once with the raw connection and what had been read past the request head. The callee
   * writes the whole answer itself, its status line included, and closes the socket. Status is 101 by convention.
   */
  readonly takeover?: (socket: Duplex, head: Uint8Array) => void;
  /** In-process callers read this instead of `body`. Frozen: not to be changed. */
  readonly object?: unknown;
}

export interface ApiWatchEvent {
  readonly type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK" | "ERROR";
  readonly object: unknown;
  readonly json?: Uint8Array;
}

export type ApiHandler = (request: ApiRequest) => Promise<ApiResponse>;
