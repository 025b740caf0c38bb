import type { cri } from "../../api/index.ts";

export interface PodNetworkRequest {
  readonly id: string;
  readonly config: cri.PodSandboxConfig;
  /** Makes the network namespace and pins it there, where it is to belong to the Pod's user namespace. The network makes it when left out. */
  readonly makeNamespace?: (pin: string) => Promise<void>;
}

/** The network of Pods, as a CNI plugin would give it. Declared here, implemented in node/podnet, injected by the daemon. */
export interface PodNetwork {
  /** Makes the sandbox's network namespace and its address. Idempotent by id. */
  add(request: PodNetworkRequest): Promise<PodAddresses>;
  /** Takes everything back. Idempotent. */
  remove(id: string): Promise<void>;
  /** Undefined when Pods can get addresses; else why not. */
  notReady(): string | undefined;
  /** The node's range, from the kubelet. */
  setPodCidr(cidr: string): Promise<void>;
  /** After a restart: forgets (and takes back) everything but these. */
  recover(ids: ReadonlySet<string>): Promise<void>;
}

/** Where the streams of the CRI socket's Exec, Attach and PortForward are served: each call answers a URL. Implemented in node/streaming. */
export interface CriStreaming {
  exec(containerId: string, request: cri.ExecRequest): Promise<string>;
  attach(containerId: string, request: cri.AttachRequest): Promise<string>;
  portForward(podSandboxId: string, ports: readonly number[]): Promise<string>;
  close(): Promise<void>;
}

export interface PodAddresses {
  readonly netnsPath: string;
  /** The main address first. */
  readonly ips: readonly string[];
}
