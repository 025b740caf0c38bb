import type { k8s } from "../../api/index.ts";
import { hasCode, kernelName, messageOf, type InstanceContext } from "../../base/index.ts";
import {
  defineResource,
  resources,
  type EventRecorder,
  type Informer,
  type InformerFactory,
  type KubeClient,
  type Stored,
} from "../../client/index.ts";
import { LinuxNetlinkHost, type NetlinkHost } from "../../host/index.ts";
import { SettledWork } from "../settled-work.ts";
import { Backends } from "./backends.ts";
import type { Target } from "./messages.ts";
import type { IngressListener } from "./listener.ts";
import { certificateFor, route, routingTable, type RoutingTable } from "./routes.ts";

const ingressClasses = defineResource<k8s.IngressClass>(
  "networking.k8s.io/v1",
  "ingressclasses",
  "IngressClass",
  false,
);
/** What a class must name to be served here. */
const CONTROLLER = "berth.dev/ingress";
const CLASS_NAME = "berth";
const DEFAULT_CLASS = "ingressclass.kubernetes.io/is-default-class";
const SETTLE_MS = 5;
const LOOPBACK = "127.0.0.1";

export interface IngressOptions {
  readonly client: KubeClient;
  readonly informers: InformerFactory;
  readonly events: EventRecorder;
  /** This node's address for Ingresses, put on a link of its own and told in their status. */
  readonly address: string;
  /** 80 and 443; others are for tests. */
  readonly ports?: { readonly http: number; readonly https: number };
  readonly netlink?: NetlinkHost;
}

type Ingress = Stored<k8s.Ingress>;

/**
 * The Ingress controller: HTTP and HTTPS on the node's Ingress address and, where the ports are free, on localhost. Nothing listens and no Secrets are followed
 * before there is an Ingress of a class that is served here.
 */
export class IngressController {
  readonly #ctx: InstanceContext;
  readonly #options: IngressOptions;
  readonly #ingresses: Informer<k8s.Ingress>;
  readonly #classes: Informer<k8s.IngressClass>;
  #sources: Awaited<ReturnType<IngressController["follow"]>> | undefined;
  #listener: IngressListener | undefined;
  #table: RoutingTable = routingTable([]);
  #clashes: readonly number[] = [];
  readonly #work: SettledWork;

  constructor(ctx: InstanceContext, options: IngressOptions) {
    this.#ctx = ctx;
    this.#options = options;
    this.#ingresses = options.informers.for(resources.ingresses);
    this.#classes = options.informers.for(ingressClasses);
    this.#work = new SettledWork(ctx.clock, SETTLE_MS, () =>
      this.#reconcile().catch((error: unknown) => ctx.log.error("serving Ingresses failed", { error })),
    );
  }

  /** Makes the default class if there is none, and begins to follow Ingresses. */
  async start(): Promise<void> {
    await this.#options.client
      .of(ingressClasses)
      .create({
        metadata: { name: CLASS_NAME, annotations: { [DEFAULT_CLASS]: "true" } },
        spec: { controller: CONTROLLER },
      })
      .catch((error: unknown) => {
        if (!hasCode(error, "alreadyExists")) throw error;
      });
    await Promise.all([this.#ingresses.whenSynced(), this.#classes.whenSynced()]);
    const touch = () => this.#work.touch();
    this.#ingresses.onChange({ added: touch, updated: touch, deleted: touch });
    this.#classes.onChange({ added: touch, updated: touch, deleted: touch });
    await this.sync();
  }

  /** Resolves when what the Ingresses say now is served. */
  sync(): Promise<void> {
    return this.#work.now();
  }

  async #reconcile(): Promise<void> {
    const ours = this.#ingresses.list().filter((ingress) => this.#isOurs(ingress));
    if (ours.length === 0) return this.#stopListening();
    this.#sources ??= await this.follow();
    this.#table = routingTable(ours);
    await this.#listen();
    await Promise.all(ours.map((ingress) => this.#tell(ingress)));
  }

  #isOurs({ metadata, spec }: Ingress): boolean {
    const name = spec?.ingressClassName ?? metadata.annotations?.["kubernetes.io/ingress.class"];
    return name !== undefined && this.#classes.get(name)?.spec?.controller === CONTROLLER;
  }

  /** What only matters once there is an Ingress. */
  async follow() {
    const { informers } = this.#options;
    const secrets = informers.for(resources.secrets);
    const [backends] = await Promise.all([Backends.follow(informers, this.#ctx.random), secrets.whenSynced()]);
    return { backends, secrets };
  }

  async #listen(): Promise<void> {
    if (this.#listener) return;
    const { address, ports = { http: 80, https: 443 } } = this.#options;
    const { IngressListener } = await import("./listener.ts");
    const listener = new IngressListener({
      clock: this.#ctx.clock,
      resolve: ({ host, path, secure }) => this.#resolve(host, path, secure),
      certificate: (name) => this.#certificate(name),
    });
    this.#ensureAddress(address);
    await listener.listen(address, { http: ports.http });
    await listener.listen(address, { https: ports.https });
    this.#listener = listener;
    const onLocalhost = [{ http: ports.http }, { https: ports.https }];
    const results = await Promise.allSettled(onLocalhost.map((port) => listener.listen(LOOPBACK, port)));
    this.#clashes = [ports.http, ports.https].filter((_, index) => results[index]!.status === "rejected");
  }

  async #stopListening(): Promise<void> {
    const listener = this.#listener;
    this.#listener = undefined;
    await listener?.close();
  }

  #ensureAddress(address: string): void {
    if (address.startsWith("127.")) return;
    using netlink = (this.#options.netlink ?? new LinuxNetlinkHost()).open();
    const name = kernelName(this.#ctx.instance, "ing");
    const link =
      netlink.link(name)?.index ??
      netlink.addLink({ name, kind: { type: "bridge" }, up: true, alias: "berth Ingress" });
    netlink.addAddress(link, `${address}/32`);
  }

  /** Writes the address into an Ingress' status, once, and says what stands in its way. */
  async #tell(ingress: Ingress): Promise<void> {
    const { address, client, events } = this.#options;
    if (ingress.status?.loadBalancer?.ingress?.[0]?.ip === address) return;
    for (const { secretName } of ingress.spec?.tls ?? []) {
      const key = `${ingress.metadata.namespace}/${secretName}`;
      if (secretName && !this.#sources?.secrets.get(key))
        events.event(
          ingress,
          "Warning",
          "CertificateMissing",
          `Secret ${key} is not there: TLS for its hosts is refused`,
        );
    }
    for (const port of this.#clashes)
      events.event(
        ingress,
        "Warning",
        "LocalhostPortInUse",
        `localhost:${port} belongs to another program or Service. The Ingress answers on ${address}`,
      );
    const status = { loadBalancer: { ingress: [{ ip: address }] } };
    await client
      .of(resources.ingresses)
      .patch(ingress.metadata, { status }, { subresource: "status" })
      .catch((error: unknown) => this.#ctx.log.debug("an Ingress' status was not written", { why: messageOf(error) }));
  }

  #resolve(host: string, path: string, secure: boolean): Target {
    const backend = route(this.#table, host, path);
    if (backend?.toHttps && !secure) {
      const location = `https://${host.replace(/:\d+$/, "")}${path}`;
      return { status: 308, message: `see ${location}`, headers: { location } };
    }
    if (backend?.resource)
      return {
        status: 503,
        message: `the backend ${backend.resource} is no Service, and only Services are served here`,
      };
    if (backend) return this.#sources!.backends.target(backend.namespace, backend.service, backend.port);
    return { status: 404, message: `no Ingress has a rule for ${host || "this host"}${path.replace(/\?.*$/s, "")}` };
  }

  #certificate(serverName: string): { cert: Buffer; key: Buffer } | undefined {
    const name = certificateFor(this.#table, serverName);
    const data = name === undefined ? undefined : this.#sources?.secrets.get(name)?.data;
    if (!data?.["tls.crt"] || !data["tls.key"]) return undefined;
    return { cert: Buffer.from(data["tls.crt"], "base64"), key: Buffer.from(data["tls.key"], "base64") };
  }

  async close(): Promise<void> {
    await this.#work.close();
    await this.#stopListening();
  }
}
