import { hasCode, IpRange, kernelName, messageOf, randomInt, type InstanceContext } from "../../../base/index.ts";
import {
  keyOf,
  resources,
  type Informer,
  type InformerFactory,
  type KubeClient,
  type Resource,
  type Stored,
} from "../../../client/index.ts";
import type { k8s } from "../../../api/index.ts";
import { LinuxNetlinkHost, type NetlinkHost } from "../../../host/index.ts";
import { installResources } from "../../custom-resources.ts";
import { SettledWork } from "../../settled-work.ts";
import { Backends } from "../backends.ts";
import type { Asked, IngressListener } from "../listener.ts";
import type { Target } from "../messages.ts";
import { assignAddresses, type Assigned } from "./addresses.ts";
import { isCertificate } from "./certificates.ts";
import { gatewayDefinitions } from "./crds.ts";
import { GRPC_ROUTE, httpOfGrpc } from "./grpc.ts";
import { hostCovers, matches } from "./matching.ts";
import { backendProblem, planGateways, type GatewayPlan, type GatewayWorld, type ServedListener } from "./plan.ts";
import { GatewayStatus } from "./status.ts";
import { targetOf } from "./target.ts";
import { loadPatterns } from "./patterns.ts";
import {
  gatewayClasses,
  gateways,
  grpcRoutes,
  httpRoutes,
  referenceGrants,
  type BackendReference,
  type Gateway,
  type HttpRoute,
} from "./types.ts";

const GATEWAY_CONTROLLER = "berth.dev/gateway";
const CLASS_NAME = "berth";
const SETTLE_MS = 10;
/** A cluster that has just begun has better things to do than to define resources that few use. */
const FIRST_INSTALL_MS = 1_000;

export interface GatewayOptions {
  /** Makes definitions and writes status: the administrator's. */
  readonly client: KubeClient;
  readonly informers: InformerFactory;
  /** From which each Gateway has an address of its own; the first is somebody else's. */
  readonly addresses: string;
  readonly netlink?: NetlinkHost;
}

interface Listening {
  readonly secure: boolean;
  readonly address: string;
  readonly listener: IngressListener;
}

/** What only matters once there is a Gateway. */
interface Followed {
  readonly backends: Backends;
  readonly secrets: Informer<k8s.Secret>;
  readonly namespaces: Informer<k8s.Namespace>;
}

/**
 * The Gateway API: HTTP and HTTPS by HTTPRoutes, on an address of the machine for each Gateway. Its resources are defined by the controller itself unless
 * somebody has defined them already.
 */
export class GatewayController {
  readonly #ctx: InstanceContext;
  readonly #options: GatewayOptions;
  readonly #range: IpRange;
  readonly #stop = new AbortController();
  readonly #work: SettledWork;
  readonly #status: GatewayStatus;
  /** By Gateway and port. */
  readonly #listening = new Map<string, Listening>();
  #addresses: Assigned = { addresses: new Map(), problems: new Map() };
  #installed: Promise<void> = Promise.resolve();
  #followed: Followed | undefined;
  #plan: GatewayPlan = { listeners: new Map(), parents: [] };

  constructor(ctx: InstanceContext, options: GatewayOptions) {
    this.#ctx = ctx;
    this.#options = options;
    this.#range = new IpRange(options.addresses);
    this.#work = new SettledWork(ctx.clock, SETTLE_MS, () =>
      this.#reconcile().catch((error: unknown) => ctx.log.error("serving Gateways failed", { error })),
    );
    this.#status = new GatewayStatus(ctx, options.client, GATEWAY_CONTROLLER);
  }

  /** Goes on by itself: nobody who starts a cluster waits for it. */
  start(): void {
    this.#installed = this.#install().catch((error: unknown) => {
      if (!this.#stop.signal.aborted) this.#ctx.log.error("the Gateway API is not served", { error });
    });
  }

  async #install(): Promise<void> {
    const { client, informers } = this.#options;
    const served = [gatewayClasses, gateways, httpRoutes, grpcRoutes, referenceGrants] as readonly Resource[];
    const wanted = { client, definitions: gatewayDefinitions(), resources: served, firstAfterMs: FIRST_INSTALL_MS };
    await installResources({ ...wanted, clock: this.#ctx.clock }, this.#stop.signal);
    await client
      .of(gatewayClasses)
      .create({ metadata: { name: CLASS_NAME }, spec: { controllerName: GATEWAY_CONTROLLER } })
      .catch((error: unknown) => {
        if (!hasCode(error, "alreadyExists")) throw error;
      });
    const followed = served.map((one) => informers.for(one));
    informers.start(this.#stop.signal);
    await Promise.all(followed.map((informer) => informer.whenSynced()));
    const touch = () => this.#work.touch();
    for (const informer of followed) informer.onChange({ added: touch, updated: touch, deleted: touch });
    await this.#work.now();
  }

  async #reconcile(): Promise<void> {
    const { informers } = this.#options;
    const classes = informers
      .for(gatewayClasses)
      .list()
      .filter(({ spec }) => spec?.controllerName === GATEWAY_CONTROLLER);
    const names = new Set(classes.map(({ metadata }) => metadata.name));
    const ours = informers
      .for(gateways)
      .list()
      .filter(({ spec }) => names.has(spec?.gatewayClassName ?? ""));
    if (ours.length > 0) this.#followed ??= await this.#follow();
    if (this.#followed) {
      const world = this.#world(this.#followed, ours);
      if (JSON.stringify(world.routes.map(({ spec }) => spec)).includes("RegularExpression")) await loadPatterns();
      this.#plan = planGateways(world);
    }
    const named = ours.map((gateway) => ({ ...gateway, key: keyOf(gateway) }));
    this.#addresses = assignAddresses(named, this.#addresses.addresses, this.#range);
    this.#putAddresses([...this.#addresses.addresses.values()]);
    const problems = await this.#listen(ours);
    await this.#status.write(classes, ours, this.#plan, this.#addresses, problems);
  }

  async #follow(): Promise<Followed> {
    const { informers } = this.#options;
    const secrets = informers.for(resources.secrets);
    const namespaces = informers.for(resources.namespaces);
    informers.start(this.#stop.signal);
    const backends = await Backends.follow(informers, this.#ctx.random);
    await Promise.all([secrets.whenSynced(), namespaces.whenSynced()]);
    // Whether a reference leads anywhere is said in status.
    const touch = () => this.#work.touch();
    backends.services.onChange({ added: touch, deleted: touch });
    secrets.onChange({ added: touch, updated: touch, deleted: touch });
    namespaces.onChange({ added: touch, updated: touch });
    return { backends, secrets, namespaces };
  }

  #world({ backends, secrets, namespaces }: Followed, ours: readonly Stored<Gateway>[]): GatewayWorld {
    const { informers } = this.#options;
    return {
      gateways: ours,
      routes: [
        ...informers
          .for(httpRoutes)
          .list()
          .map((route): HttpRoute => ({ ...route, kind: "HTTPRoute" })),
        ...informers.for(grpcRoutes).list().map(httpOfGrpc),
      ],
      grants: informers.for(referenceGrants).list(),
      namespaceLabels: (name) => namespaces.get(name)?.metadata.labels ?? {},
      hasService: (key) => backends.services.get(key) !== undefined,
      hasCertificate: (key) => isCertificate(secrets.get(key)?.data),
    };
  }

  #putAddresses(wanted: readonly string[]): void {
    using netlink = (this.#options.netlink ?? new LinuxNetlinkHost()).open();
    const name = kernelName(this.#ctx.instance, "gw");
    const found = netlink.link(name)?.index;
    if (found === undefined && wanted.length === 0) return;
    const link = found ?? netlink.addLink({ name, kind: { type: "bridge" }, up: true, alias: "berth Gateways" });
    for (const { address, family } of netlink.addresses(link))
      if (family === 4 && !wanted.includes(address)) netlink.deleteAddress(link, `${address}/32`);
    for (const address of wanted) netlink.addAddress(link, `${address}/32`);
  }

  /** Opens and closes ports as the Gateways say now. Returns, by Gateway and port, what could not be opened. */
  async #listen(ours: readonly Stored<Gateway>[]): Promise<Map<string, string>> {
    const problems = new Map<string, string>();
    const wanted = new Map<string, { key: string; port: number; secure: boolean; address: string }>();
    for (const key of ours.map(keyOf).filter((one) => this.#addresses.addresses.has(one)))
      for (const { port, secure, conditions } of this.#plan.listeners.get(key) ?? [])
        if (conditions.every(({ type, status }) => type !== "Programmed" || status === "True"))
          wanted.set(`${key} ${port}`, { key, port, secure, address: this.#addresses.addresses.get(key)! });
    for (const [id, { listener, secure, address }] of this.#listening) {
      const now = wanted.get(id);
      if (now?.secure === secure && now.address === address) continue;
      this.#listening.delete(id);
      await listener.close();
    }
    for (const [id, { key, port, secure, address }] of wanted) {
      if (this.#listening.has(id)) continue;
      try {
        this.#listening.set(id, { secure, address, listener: await this.#open(key, address, port, secure) });
      } catch (error) {
        problems.set(id, messageOf(error));
      }
    }
    return problems;
  }

  async #open(key: string, address: string, port: number, secure: boolean): Promise<IngressListener> {
    const { IngressListener } = await import("../listener.ts");
    const listener = new IngressListener({
      clock: this.#ctx.clock,
      resolve: (asked) => this.#resolve(key, port, asked),
      certificate: (name) => this.#certificate(key, port, name),
    });
    await listener.listen(address, secure ? { https: port } : { http: port });
    return listener;
  }

  /** Of the listeners on a port the one with the most precise host name. */
  #listenerFor(key: string, port: number, host: string): ServedListener | undefined {
    return (this.#plan.listeners.get(key) ?? [])
      .filter((one) => one.port === port && hostCovers(one.hostname, host))
      .toSorted((one, other) => precision(other.hostname) - precision(one.hostname))[0];
  }

  #resolve(key: string, port: number, asked: Asked): Target {
    const listener = this.#listenerFor(key, port, asked.host);
    const entry = listener?.entries.find((one) => matches(one, asked));
    if (!entry) return { status: 404, message: `no HTTPRoute of Gateway ${key} has a rule for this request` };
    const namespace = entry.route.slice(0, entry.route.indexOf("/"));
    return targetOf(entry, asked, {
      port,
      random: (below) => randomInt(this.#ctx.random, below),
      backend: (reference) => this.#backend(entry.grpc ? GRPC_ROUTE : "HTTPRoute", namespace, reference),
    });
  }

  #backend(routeKind: string, namespace: string, reference: BackendReference): Target {
    const { backends } = this.#followed!;
    const grants = this.#options.informers.for(referenceGrants).list();
    const problem = backendProblem(
      { grants, hasService: (key) => backends.services.get(key) !== undefined },
      routeKind,
      namespace,
      reference,
    );
    if (problem) return { status: 500, message: problem.message };
    return backends.target(reference.namespace ?? namespace, reference.name, reference.port ?? 0);
  }

  #certificate(key: string, port: number, serverName: string): { cert: Buffer; key: Buffer } | undefined {
    const name = this.#listenerFor(key, port, serverName)?.certificates[0];
    const data = name === undefined ? undefined : this.#followed?.secrets.get(name)?.data;
    if (!data?.["tls.crt"] || !data["tls.key"]) return undefined;
    return { cert: Buffer.from(data["tls.crt"], "base64"), key: Buffer.from(data["tls.key"], "base64") };
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#installed;
    await this.#work.close();
    await Promise.all([...this.#listening.values()].map(({ listener }) => listener.close()));
  }
}

function precision(hostname: string): number {
  return hostname === "" ? 0 : hostname.length + (hostname.startsWith("*") ? 0 : 1_000);
}
