import type { cri } from "../../api/index.ts";

/** The network of Pods, as a CNI plugin would give it. Declared here, implemented in node/podnet, injected by the daemon. */
export interface PodNetwork {
  /** Makes the sandbox's network namespace and its address. Idempotent by id. */
  add(request: { readonly id: string; readonly config: cri.PodSandboxConfig }): Promise<PodAddresses>;
  /** Takes everything back. Idempotent. */
  remove(id: string): Promise<void>;
  /** Undefined when Pods can get addresses; else why not. */
  notReady(): string | undefined;
  /** The node's range, from the kubelet. */
  setPodCidr(cidr: string): Promise<void>;
  /** After a restart: forgets (and takes back) everything but these. */
  recover(ids: ReadonlySet<string>): Promise<void>;
}

export interface PodAddresses {
  readonly netnsPath: string;
  /** The main address first. */
  readonly ips: readonly string[];
}
