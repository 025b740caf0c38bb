import type { Clock, Logger, Metrics, Random } from "../../base/index.ts";
import type { ApiHandler, ApiResponse } from "../../api/index.ts";
import type { Store } from "../../storage/index.ts";
import type { Kind } from "./kind.ts";
import type { Admission, Audit, Authenticator, Authorizer, Endpoint, Fairness, Fallback } from "./pipeline.ts";

export interface ApiServerOptions {
  readonly store: Store;
  readonly kinds: readonly Kind[];
  readonly endpoints?: readonly Endpoint[];
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  /** Asked in order; the first that knows the caller wins. None: everybody is `system:anonymous`. */
  readonly authenticators?: readonly Authenticator[];
  /** Asked in order; none: everything is allowed. */
  readonly authorizers?: readonly Authorizer[];
  readonly admission?: readonly Admission[];
  readonly fairness?: Fairness;
  readonly audit?: Audit;
  readonly fallbacks?: readonly Fallback[];
  /** Where figures are counted; without it nothing is. */
  readonly metrics?: Metrics;
  /** Kubernetes' version as /version states it. `v1.34.0` by default. */
  readonly gitVersion?: string;
}

export interface ListenOptions {
  /** 127.0.0.1 by default. */
  readonly host?: string;
  /** 0 picks a free one. */
  readonly port?: number;
  /** PEM. Without it the server speaks plain HTTP/1.1. */
  readonly tls?: { readonly cert: string; readonly key: string; readonly clientCa?: string };
}

export interface Listener {
  readonly host: string;
  readonly port: number;
  /** Replaces certificate, key and client CA for new connections. */
  setTls(tls: NonNullable<ListenOptions["tls"]>): void;
  close(): Promise<void>;
}

/** Kinds that come and go at run time (CustomResourceDefinitions). Discovery and OpenAPI follow. */
export interface KindRegistry {
  /** Adds or replaces by group, version and plural. */
  add(kinds: readonly Kind[]): void;
  remove(group: string, version: string, plural: string): void;
  find(group: string, version: string, plural: string): Kind | undefined;
  all(): readonly Kind[];
  /** Everything that a group's version serves besides kinds, in place of what it was before. */
  setEndpointsOf(group: string, version: string, endpoints: readonly Endpoint[], documents?: ForeignDocuments): void;
}

/** OpenAPI of a group and version that somebody else serves. Throws `unavailable` when they don't answer. */
export interface ForeignDocuments {
  /** Another one when the documents have changed. */
  readonly hash: string;
  /** All that they serve; of it our document takes the group and version. */
  versionTwo(): Promise<Readonly<Record<string, unknown>>>;
  /** Absent where they have no version 3. */
  readonly versionThree: (() => Promise<ApiResponse>) | undefined;
}

export interface ApiServer extends AsyncDisposable {
  /** The server as a function. A request without `user` goes through the authenticators. */
  readonly handler: ApiHandler;
  readonly kinds: KindRegistry;
  /** Named checks behind /readyz, /livez and /healthz, which return why not, or undefined when fine. */
  addHealthCheck(name: string, check: () => Promise<string | undefined> | string | undefined): void;
  listen(options?: ListenOptions): Promise<Listener>;
  /** Ends watches, listeners and the cache. The store stays the caller's. */
  close(): Promise<void>;
}
