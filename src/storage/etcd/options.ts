import type { Clock } from "../../base/index.ts";

export interface EtcdStoreOptions {
  /** `http://host:2379` or `https://…`, one or several of one cluster. */
  readonly endpoints: readonly string[];
  /** PEM. */
  readonly tls?: { readonly ca?: string; readonly cert?: string; readonly key?: string };
  /** A user of etcd's own. https://etcd.io/docs/v3.6/op-guide/authentication/rbac/ */
  readonly user?: { readonly name: string; readonly password: string };
  readonly clock?: Clock;
  /** For one call. 5 s by default. */
  readonly timeoutMs?: number;
}
