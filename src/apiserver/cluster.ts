import type { ApiHandler } from "../api/index.ts";
import { Metrics, type Clock, type Logger, type Random } from "../base/index.ts";
import type { KubeClient } from "../client/index.ts";
import type { Store } from "../storage/index.ts";
import { Aggregation } from "./aggregation/index.ts";
import { addressAt, createAdmission } from "./admission/index.ts";
import type { ServiceRange } from "./admission/index.ts";
import { openAuthentication } from "./authn/index.ts";
import type { AuthenticationOptions } from "./authn/index.ts";
import type { LegacyServiceAccountTokens } from "./authn/legacy-service-account-tokens.ts";
import type { ServiceAccountTokens } from "./authn/service-account-tokens.ts";
import { createAuthorizers } from "./authz/index.ts";
import type { AuthorizationOptions } from "./authz/index.ts";
import { bootstrapCluster } from "./bootstrap/objects.ts";
import { openClusterCertificates } from "./certificates/cluster.ts";
import type { ClusterCertificates } from "./certificates/cluster.ts";
import { ClusterSigner } from "./certificates/signer.ts";
import { renderKubeconfig } from "./certificates/kubeconfig.ts";
import { ClusterState } from "./cluster-state.ts";
import { serveCustomResources } from "./crd/index.ts";
import { componentStatusEndpoint } from "./endpoints/component-status.ts";
import { issuerDiscovery } from "./endpoints/issuer-discovery.ts";
import { bindingEndpoints, evictionEndpoint } from "./endpoints/pods.ts";
import { metricsPages } from "./endpoints/metrics.ts";
import { reviewEndpoints } from "./endpoints/reviews.ts";
import { tokenEndpoint } from "./endpoints/tokens.ts";
import { FlowControl } from "./machinery/fairness/fairness.ts";
import { flowControlDumps, measureFlowControl } from "./machinery/fairness/figures.ts";
import { flowSchemas, priorityLevels } from "./bootstrap/flow-control.ts";
import { followFlowControl } from "./bootstrap/flow-control-follower.ts";
import type { ApiServer, Listener } from "./machinery/options.ts";
import type { Audit, Endpoint, Fairness, Fallback } from "./machinery/pipeline.ts";
import { createApiServer } from "./machinery/server.ts";
import { builtinKinds } from "./resources/index.ts";

export interface ClusterOptions extends AuthenticationOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  /** Where certificates and keys are kept, 0700. */
  readonly folder: string;
  /** Host names and addresses, besides the usual ones, that clients may call the server by. */
  readonly serverNames?: readonly string[];
  readonly host?: string;
  /** 0 picks a free one. */
  readonly port?: number;
  /** What the `kubernetes` Service leads to: the address that Pods reach the server at. `host` by default. */
  readonly advertiseAddress?: string;
  readonly services?: ServiceRange;
  /** Upstream's --authorization-* flags; Node and RBAC by default. */
  readonly authorization?: AuthorizationOptions;
  /** Upstream's --disable-admission-plugins. */
  readonly disabledAdmissionPlugins?: readonly string[];
  /** Further endpoints: logs, exec, proxies, which need a node. */
  readonly endpoints?: readonly Endpoint[];
  readonly fallbacks?: readonly Fallback[];
  readonly audit?: Audit;
  readonly fairness?: Fairness;
  /** Shared with whoever else has figures for /metrics. */
  readonly metrics?: Metrics;
}

export interface Cluster extends AsyncDisposable {
  readonly server: ApiServer;
  readonly handler: ApiHandler;
  /** The server itself as its own client, allowed everything; `as()` makes others of it. */
  readonly client: KubeClient;
  readonly listener: Listener;
  readonly certificates: ClusterCertificates;
  /** Signs what CertificateSigningRequests ask for. */
  readonly signer: ClusterSigner;
  readonly tokens: ServiceAccountTokens;
  readonly legacyTokens: LegacyServiceAccountTokens;
  /** https://HOST:PORT */
  readonly url: string;
  /** For the cluster's administrator. To be written 0600. */
  readonly kubeconfig: (name: string) => string;
  close(): Promise<void>;
}

const defaultServices: ServiceRange = { cidr: "10.96.0.0/16", nodePorts: [30_000, 32_767] };

/** A whole API server: kinds, who may do what, admission, the objects every cluster begins with, and a TLS port. */
export async function openCluster(options: ClusterOptions): Promise<Cluster> {
  const {
    store,
    clock,
    random,
    log,
    services = defaultServices,
    host = "127.0.0.1",
    metrics = new Metrics(),
  } = options;
  const stop = new AbortController();
  const address = options.advertiseAddress ?? (host === "0.0.0.0" ? "127.0.0.1" : host);
  const serviceIp = addressAt(services.cidr, 1);
  const certificates = await openClusterCertificates(
    options.folder,
    serverNames(options, host, address, serviceIp),
    clock,
  );
  // The plugins ask the very server that they are part of.
  let server: ApiServer | undefined = undefined as ApiServer | undefined;
  const handler: ApiHandler = (request) => server!.handler(request);
  const state = new ClusterState({ handler, clock, random, log, signal: stop.signal });
  const { authenticators, tokens, legacyTokens } = await openAuthentication(
    { state, clock, random, log, folder: options.folder, clientCa: certificates.authority.pair.cert },
    options,
  );
  const { authorizers, rbac } = await createAuthorizers({ state, clock, log }, options.authorization);
  const endpoints = [
    ...reviewEndpoints({
      authenticators,
      authorizers,
      rbac,
      verifyFor: async (token, audiences) => {
        const user = audiences.includes(tokens.audience) ? await legacyTokens.verify(token) : undefined;
        return user ? { user, audiences: [tokens.audience] } : tokens.verify(token, audiences);
      },
    }),
    ...bindingEndpoints(clock),
    evictionEndpoint(state, clock),
    tokenEndpoint(state, tokens),
    componentStatusEndpoint(store),
    ...(options.endpoints ?? []),
  ];
  const aggregation = new Aggregation({
    state,
    clock,
    log,
    signal: stop.signal,
    server: () => server!,
    clientCa: certificates.authority.pair.cert,
    frontProxy: () => certificates.issueClient({ commonName: "front-proxy-client" }),
  });
  const flowControl = new FlowControl({ clock, flowSchemas: flowSchemas(), priorityLevels: priorityLevels() });
  const fairness = options.fairness ?? flowControl;
  measureFlowControl(metrics, flowControl);
  server = await createApiServer({
    store,
    clock,
    random,
    log,
    endpoints,
    authenticators,
    authorizers,
    kinds: builtinKinds(),
    admission: createAdmission({
      state,
      random,
      clock,
      log,
      services,
      rbac,
      authorizers,
      disabled: options.disabledAdmissionPlugins,
      kinds: () => server!.kinds.all(),
    }),
    fallbacks: [
      issuerDiscovery(tokens),
      metricsPages(metrics),
      flowControlDumps(flowControl),
      aggregation.unlisted,
      ...(options.fallbacks ?? []),
    ],
    metrics,
    audit: options.audit,
    fairness,
  });
  const { cert, key } = certificates.server;
  const tls = { cert, key, clientCa: certificates.authority.pair.cert };
  const listener = await server.listen({ host, port: options.port, tls }).catch(async (error: unknown) => {
    // Nobody else can end what runs already.
    stop.abort();
    await server!.close();
    throw error;
  });
  await bootstrapCluster(state, { serviceIp, serviceCidr: services.cidr, address, port: listener.port });
  await followFlowControl(state, flowControl, { clock, log });
  await serveCustomResources({ state, server, clock, random, log });
  await aggregation.start();
  const url = `https://${host === "0.0.0.0" ? "127.0.0.1" : host}:${listener.port}`;
  const close = async () => {
    stop.abort();
    await server.close();
  };
  return {
    server,
    handler,
    client: state.client,
    listener,
    certificates,
    signer: new ClusterSigner(certificates.authority, clock),
    tokens,
    legacyTokens,
    url,
    close,
    kubeconfig: (name) =>
      renderKubeconfig({
        name,
        server: url,
        authorityCert: certificates.authority.pair.cert,
        client: certificates.admin,
      }),
    [Symbol.asyncDispose]: close,
  };
}

function serverNames(options: ClusterOptions, host: string, address: string, serviceIp: string): string[] {
  const inCluster = [
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
  ];
  const all = ["localhost", ...inCluster, "127.0.0.1", host, address, serviceIp, ...(options.serverNames ?? [])];
  return [...new Set(all)].filter((name) => name !== "0.0.0.0");
}
