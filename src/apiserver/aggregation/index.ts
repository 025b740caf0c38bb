import type { k8s } from "../../api/index.ts";
import { hasCode, messageOf, rfc3339 } from "../../base/index.ts";
import type { Clock, Logger } from "../../base/index.ts";
import { defineResource, resources } from "../../client/index.ts";
import type { Stored } from "../../client/index.ts";
import type { KeyPair } from "../certificates/authority.ts";
import type { ClusterState } from "../cluster-state.ts";
import type { ApiServer } from "../machinery/options.ts";
import type { Endpoint, Fallback } from "../machinery/pipeline.ts";
import { statusError } from "../machinery/status.ts";
import { addressOf } from "../webhook-client.ts";
import { whyUnreachable, type Unavailable } from "./availability.ts";
import { Asker, documentsOf } from "./documents.ts";
import { forward } from "./proxy.ts";
import type { Upstream } from "./proxy.ts";

type Service = k8s.APIService;
const resource = defineResource<Service>("apiregistration.k8s.io/v1", "apiservices", "APIService", false);

/** Asked again as often, whether it was there or not. */
const pollMs = 10_000;
const proxyUser = { name: "system:apiserver", groups: ["system:masters", "system:authenticated"] };

/** Subresources that are connections, which take no seat: upstream's list. */
const connecting = new Set(["attach", "exec", "log", "portforward", "proxy"]);

/** One line of a discovery document. */
interface ServedResource {
  readonly name: string;
  readonly namespaced: boolean;
  readonly kind: string;
  readonly group?: string;
  readonly version?: string;
  readonly verbs: readonly string[];
  readonly shortNames?: readonly string[];
}

interface AggregationOptions {
  readonly state: ClusterState;
  readonly server: () => ApiServer;
  readonly clock: Clock;
  readonly log: Logger;
  readonly signal: AbortSignal;
  /** What servers behind us may trust: the CA of clients, and our own pair for the front proxy (made when first needed). */
  readonly clientCa: string;
  readonly frontProxy: () => KeyPair;
}

/** Serves the groups of APIServices that lead to a Service. Nothing runs while there is none. */
export class Aggregation {
  readonly #options: AggregationOptions;
  readonly #known = new Map<string, Stored<Service>>();
  /** Servers that answer, by `group/version`. */
  readonly #answering = new Map<string, Upstream>();
  #pair: KeyPair | undefined;
  #polling = false;

  constructor(options: AggregationOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    const services = await this.#options.state.apiServices.ready();
    const seen = (service: Stored<Service>) => void this.#changed(service);
    services.onChange({ added: seen, updated: seen, deleted: (service) => this.#withdraw(service) });
  }

  /**
   * For what a server of others has not listed: it may answer all the same, as adapters of metrics do. For groups that are promised and not
   * there 503, rather than 404 as if nobody had ever heard of them.
   */
  readonly unlisted: Fallback = ({ info, request, user }) => {
    const { group, version } = info;
    const upstream = this.#answering.get(`${group}/${version}`);
    if (upstream !== undefined && info.isResource) return forward(upstream, request, user);
    const promised = this.#known.values().some(({ spec }) => spec?.group === group && spec.version === version);
    if (!promised || !info.isResource) return undefined;
    throw statusError("unavailable", { message: "service unavailable" });
  };

  async #changed(service: Stored<Service>): Promise<void> {
    const old = this.#known.get(service.metadata.name);
    if (service.spec?.service === undefined) {
      this.#withdraw(service);
      return this.#reportLocal(service);
    }
    this.#known.set(service.metadata.name, service);
    if (old && JSON.stringify(old.spec) === JSON.stringify(service.spec)) return;
    this.#pair ??= this.#options.frontProxy();
    void this.#poll();
    await this.#check(service);
  }

  /** A group of our own is always there; said once. */
  async #reportLocal(service: Stored<Service>): Promise<void> {
    if (service.status?.conditions?.some(({ type, reason }) => type === "Available" && reason === "Local")) return;
    await this.#write(service, "True", "Local", "Local APIServices are always available").catch((error: unknown) =>
      this.#options.log.debug("the status of a local APIService could not be written", { error: messageOf(error) }),
    );
  }

  #withdraw({ metadata: { name } }: Stored<Service>): void {
    const { spec } = this.#known.get(name) ?? {};
    this.#known.delete(name);
    if (spec) this.#stop(spec.group ?? "", spec.version ?? "");
  }

  #stop(group: string, version: string): void {
    this.#answering.delete(`${group}/${version}`);
    this.#options.server().kinds.setEndpointsOf(group, version, []);
  }

  async #poll(): Promise<void> {
    if (this.#polling) return;
    this.#polling = true;
    const { clock, signal } = this.#options;
    await this.#publishTrust();
    while (this.#known.size > 0 && !signal.aborted) {
      await clock.sleep(pollMs, signal).catch(() => {});
      if (!signal.aborted) await Promise.all([...this.#known.values()].map((service) => this.#check(service)));
    }
    this.#polling = false;
  }

  async #check(service: Stored<Service>): Promise<void> {
    const { group = "", version = "" } = service.spec ?? {};
    const { log, server } = this.#options;
    try {
      const unreachable = await whyUnreachable(this.#options.state, service.spec!.service!);
      if (unreachable) return await this.#unavailable(service, unreachable);
      const { upstream, found, documents } = await this.#resourcesOf(service);
      if (!this.#known.has(service.metadata.name)) return;
      const endpoints = found.map((one) => endpointOf(group, version, one, upstream));
      server().kinds.setEndpointsOf(group, version, endpoints, documents);
      this.#answering.set(`${group}/${version}`, upstream);
      await this.#report(service, "True", "Passed", "all checks passed");
    } catch (error) {
      await this.#unavailable(service, { reason: "FailedDiscoveryCheck", message: messageOf(error) }).catch(
        (problem: unknown) =>
          log.warn("the status of an APIService could not be written", { error: messageOf(problem) }),
      );
    }
  }

  #unavailable(service: Stored<Service>, { reason, message }: Unavailable): Promise<void> {
    const { group = "", version = "" } = service.spec ?? {};
    this.#stop(group, version);
    return this.#report(service, "False", reason, message);
  }

  async #resourcesOf({ spec, metadata }: Stored<Service>) {
    const { namespace = "", name = "", port = 443 } = spec!.service!;
    const address = await addressOf(this.#options.state, { namespace, name, port });
    const upstream = { address, tls: spec!, client: this.#pair! };
    const { group = "", version = "" } = spec!;
    const path = `/apis/${group}/${version}`;
    const asker = new Asker(upstream, proxyUser);
    const answer = await asker.get(path);
    if (answer.status !== 200)
      throw new Error(
        `failing or missing response from https://${name}.${namespace}.svc:${port}${path}: bad status from ${metadata.name}: ${answer.status}`,
      );
    const list = JSON.parse(Buffer.from(answer.body!).toString()) as { resources?: ServedResource[] };
    return { upstream, found: list.resources ?? [], documents: await documentsOf(asker, group, version) };
  }

  async #report(service: Stored<Service>, status: string, reason: string, message: string): Promise<void> {
    const current = this.#known.get(service.metadata.name);
    if (current) await this.#write(current, status, reason, message);
  }

  async #write(current: Stored<Service>, status: string, reason: string, message: string): Promise<void> {
    const old = current.status?.conditions?.find(({ type }) => type === "Available");
    if (old?.status === status && old.reason === reason && old.message === message) return;
    const since = old?.status === status ? old.lastTransitionTime : rfc3339(this.#options.clock.nowMs());
    const condition = { type: "Available", status, reason, message, lastTransitionTime: since };
    try {
      await this.#options.state.client.of(resource).updateStatus({ ...current, status: { conditions: [condition] } });
    } catch (error) {
      // A newer one comes by, and the next look repeats this.
      if (!hasCode(error, "conflict", "notFound")) throw error;
    }
  }

  /** Where servers behind us look up whom to believe. */
  async #publishTrust(): Promise<void> {
    const { clientCa, state, log } = this.#options;
    const data = {
      "client-ca-file": clientCa,
      "requestheader-client-ca-file": clientCa,
      "requestheader-allowed-names": '["front-proxy-client"]',
      "requestheader-username-headers": '["X-Remote-User"]',
      "requestheader-uid-headers": '["X-Remote-Uid"]',
      "requestheader-group-headers": '["X-Remote-Group"]',
      "requestheader-extra-headers-prefix": '["X-Remote-Extra-"]',
    };
    const metadata = { namespace: "kube-system", name: "extension-apiserver-authentication" };
    await state.client
      .of(resources.configMaps)
      .create({ metadata, data })
      .catch((error: unknown) => {
        if (!hasCode(error, "alreadyExists"))
          log.warn("the front proxy's certificate was not published", { error: messageOf(error) });
      });
  }
}

function endpointOf(group: string, version: string, found: ServedResource, upstream: Upstream): Endpoint {
  const [name = "", subresource = ""] = found.name.split("/");
  return {
    group,
    version,
    resource: name,
    subresource,
    namespaced: found.namespaced,
    kind: { group: found.group ?? group, version: found.version ?? version, kind: found.kind },
    verbs: found.verbs,
    shortNames: found.shortNames,
    longRunning: connecting.has(subresource),
    handle: ({ request, user }) => forward(upstream, request, user),
  };
}
