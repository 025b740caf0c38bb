import type { Clock, Logger, Random } from "../base/index.ts";
import type { AnyObject, EventRecorder, Informer, InformerFactory, KubeClient, Resource } from "../client/index.ts";

/** Look at the key again later, whatever happens. */
export interface ReconcileResult {
  readonly requeueAfterMs?: number;
}

export interface Reconciler {
  /** Brings one object to its desired state. Throwing means: try again, with backoff. */
  reconcile(key: string, signal: AbortSignal): Promise<ReconcileResult | void>;
}

/** Signs a certificate request's PEM with the cluster's CA; injected by the composition root. */
export interface CertificateSigner {
  sign(options: {
    csrPem: string;
    usages: readonly string[];
    expirationSeconds: number | undefined;
    signerName: string;
  }): Promise<string>;
}

/** Makes a token without an end, for a Secret to hold; injected by the composition root. */
export interface LegacyTokenIssuer {
  issue(identity: { namespace: string; serviceAccount: { name: string; uid: string }; secretName: string }): string;
}

/** What the composition root knows and controllers need. Everything left out switches the feature off. */
export interface ClusterSettings {
  /** PEM of the CA that clients in pods trust. */
  readonly rootCaPem?: string;
  readonly signer?: CertificateSigner;
  readonly legacyTokens?: LegacyTokenIssuer;
  /** Addresses handed to Services of type LoadBalancer, as CIDRs. */
  readonly loadBalancerCidrs?: readonly string[];
  /** Pod networks handed to nodes, as `10.244.0.0/16`, cut into /24 per node. */
  readonly podCidr?: string;
  readonly serviceCidr?: string;
  readonly nodeMonitorGraceMs?: number;
  /** What the HPA asks. */
  readonly terminatedPodThreshold?: number;
}

export interface ControllerContext {
  readonly client: KubeClient;
  readonly informers: InformerFactory;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly events: EventRecorder;
  readonly settings: ClusterSettings;
  readonly informer: <T extends AnyObject>(resource: Resource<T>) => Informer<T>;
  readonly enqueue: (key: string) => void;
  readonly enqueueAfter: (key: string, delayMs: number) => void;
}

/** A controller as data; the manager runs it. */
export interface Controller {
  /** Upstream's name: `deployment-controller`. */
  readonly name: string;
  /** Under which it acts, where upstream calls that otherwise than the controller. */
  readonly serviceAccount?: string;
  /** Acts as the controller manager: it makes what service accounts prove themselves by. */
  readonly asManager?: true;
  /** The component in its events, where that differs from `name`. */
  readonly component?: string;
  readonly workers?: number;
  /** Subscribes to informers and returns the reconciler. Called once per start, before the informers run. */
  setup(context: ControllerContext): Reconciler;
}
