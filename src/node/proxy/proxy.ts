import { kernelName, type InstanceContext, type Timer } from "../../base/index.ts";
import type { k8s } from "../../api/index.ts";
import type { Lister, Stored } from "../../client/index.ts";
import {
  LinuxConntrack,
  LinuxNft,
  LinuxSockets,
  PROTOCOLS,
  type ConntrackHost,
  type Flow,
  type NftHost,
  type SocketHost,
} from "../../host/index.ts";
import { SettledWork } from "../settled-work.ts";
import { HealthChecks } from "./health-check.ts";
import { LocalhostPorts, type LocalhostClash } from "./localhost-ports.ts";
import { healthCheckOf, localhostWishes, planService, type PlanContext, type Wanted } from "./plan.ts";
import { changesOf, ProgrammedElements } from "./programmed.ts";
import { DEFAULT_AFFINITY_S, proxyRuleset, rememberChainName, rememberRuleset } from "./ruleset.ts";

/** Changes that arrive within this are programmed together. */
const SETTLE_MS = 2;
const RETRY_MS = 1000;
/** Elements in one transaction; a start with thousands of Services takes several. */
const MAX_ELEMENTS = 10_000;
const SERVICE_LABEL = "kubernetes.io/service-name";
export const SLICES_BY_SERVICE = "service";

export type ServiceSource = Pick<Lister<k8s.Service>, "get" | "list"> & Subscribable<k8s.Service>;
/** Must be indexed by `SLICES_BY_SERVICE` with `serviceOfSlice`. */
export type SliceSource = Pick<Lister<k8s.EndpointSlice>, "byIndex"> & Subscribable<k8s.EndpointSlice>;

interface Subscribable<T> {
  onChange(handler: {
    added?(object: Stored<T>): void;
    updated?(object: Stored<T>, old: Stored<T>): void;
    deleted?(object: Stored<T>): void;
  }): unknown;
}

/** How often a port of localhost that somebody else has is tried again. */
const CLASH_RETRY_MS = 5000;

export interface ServiceProxyOptions extends Omit<PlanContext, "localhostPorts" | "zone"> {
  readonly services: ServiceSource;
  readonly slices: SliceSource;
  /** CIDRs of Services and load balancers: an address in them that no Service has is refused. */
  readonly ranges?: readonly string[];
  /** CIDRs of all Pods: who asks from there is inside the cluster. */
  readonly podRanges?: readonly string[];
  /** Tells the node's zone, which may change. */
  readonly nodes?: Pick<Lister<k8s.Node>, "get"> & Subscribable<k8s.Node>;
  /** Addresses of those ranges that a program on another node serves (the cluster's DNS): they are let through. */
  readonly servedElsewhere?: readonly string[];
  /** LoadBalancer Services answer on the node's loopback too, where their ports are free. */
  readonly loadBalancerOnLocalhost: boolean;
  /** Told whenever the ports that a Service cannot have on localhost have changed; with none when it has all. */
  readonly onLocalhostClash?: (service: string, clashes: readonly LocalhostClash[]) => void;
  /** Tells several local nodes of one instance apart; default none. */
  readonly node?: string;
  readonly nft?: NftHost;
  readonly sockets?: SocketHost;
  readonly conntrack?: ConntrackHost;
}

/** `namespace/name` of the Service that a slice belongs to. */
export function serviceOfSlice(slice: Pick<k8s.EndpointSlice, "metadata">): string[] {
  const name = slice.metadata?.labels?.[SERVICE_LABEL];
  return name ? [`${slice.metadata?.namespace ?? ""}/${name}`] : [];
}

/**
 * Keeps the node's nftables table in step with Services and EndpointSlices. Only Services that changed are planned again, and only elements that differ go
 * to the kernel.
 */
export class ServiceProxy {
  readonly #ctx: InstanceContext;
  readonly #options: ServiceProxyOptions;
  readonly #nft: NftHost;
  readonly #table: string;
  readonly #programmed = new ProgrammedElements();
  readonly #dirty = new Set<string>();
  /** Services that lost a key to another one: tried again whenever a Service goes. */
  readonly #disputing = new Set<string>();
  /** Chains that remember clients for a certain time. */
  readonly #timeouts = new Set([rememberChainName(DEFAULT_AFFINITY_S)]);
  readonly #localhost: LocalhostPorts;
  readonly #health: HealthChecks;
  readonly #conntrack: ConntrackHost;
  /** Services that lack a port on localhost, with what they were told. */
  readonly #clashing = new Map<string, string>();
  /** Our table was touched by somebody, and is not whole again yet. */
  #unfilled = false;
  #clashTimer: Timer | undefined;
  readonly #work: SettledWork;

  constructor(ctx: InstanceContext, options: ServiceProxyOptions) {
    this.#ctx = ctx;
    this.#options = options;
    this.#nft = options.nft ?? new LinuxNft();
    this.#table = kernelName(ctx.instance, `s${options.node ?? ""}`);
    this.#work = new SettledWork(ctx.clock, SETTLE_MS, () => this.#program());
    const sockets = options.sockets ?? new LinuxSockets();
    this.#localhost = new LocalhostPorts(sockets, ctx.log);
    this.#health = new HealthChecks(sockets, ctx.log);
    this.#conntrack = options.conntrack ?? new LinuxConntrack();
  }

  /** Call after the informers have synced, so that the first transaction is complete. */
  async start(): Promise<void> {
    await this.#loadTable();
    const service = (object: Stored<k8s.Service>) =>
      this.#touch([`${object.metadata.namespace}/${object.metadata.name}`]);
    const slice = (object: Stored<k8s.EndpointSlice>) => this.#touch(serviceOfSlice(object));
    this.#options.nodes?.onChange({
      updated: (node, old) => {
        if (node.metadata.name === this.#options.nodeName && zoneOf(node) !== zoneOf(old)) this.#touchAll();
      },
    });
    this.#options.services.onChange({ added: service, updated: service, deleted: service });
    this.#options.slices.onChange({ added: slice, updated: slice, deleted: slice });
    await this.sync();
  }

  #loadTable(): Promise<void> {
    const { ranges, servedElsewhere, podRanges } = this.#options;
    return this.#nft.load(proxyRuleset(this.#table, ranges, servedElsewhere, podRanges));
  }

  #touch(keys: readonly string[]): void {
    if (this.#work.closed) return;
    for (const key of keys) this.#dirty.add(key);
    this.#work.touch();
  }

  #touchAll(): void {
    this.#touch(this.#options.services.list().map(({ metadata }) => `${metadata.namespace}/${metadata.name}`));
  }

  /** Programs what has changed. Resolves when it is in the kernel; a failure is logged and tried again. */
  sync(): Promise<void> {
    return this.#work.now();
  }

  async #program(): Promise<void> {
    if (this.#unfilled) return this.#reload();
    if (this.#dirty.size === 0) return;
    const deletions: Wanted[] = [];
    const additions: Wanted[] = [];
    const goneUdp = new Set<string>();
    const plan = (key: string) => this.#planOne(key, { deletions, additions, goneUdp });
    this.#dirty.forEach(plan);
    this.#dirty.clear();
    if (deletions.length > 0) [...this.#disputing, ...this.#clashing.keys()].forEach(plan);
    try {
      await this.#ensureTimeouts(additions);
      this.#apply(deletions, additions);
      this.#cutFlows(goneUdp, additions);
    } catch (error) {
      this.#ctx.log.error("programming Services failed: the table is made anew", { error });
      await this.#reload();
    }
  }

  #planOne(key: string, into: { deletions: Wanted[]; additions: Wanted[]; goneUdp: Set<string> }): void {
    const service = this.#options.services.get(key);
    const slices = this.#options.slices.byIndex(SLICES_BY_SERVICE, key);
    const localhostPorts = this.#claimLocalhost(key, service);
    const wanted = service ? planService(service, slices, { ...this.#options, zone: this.#zone, localhostPorts }) : [];
    this.#health.set(key, service && healthCheckOf(service, slices, this.#options.nodeName));
    const before = udpTargets(this.#programmed.of(key));
    const change = this.#programmed.replace(key, wanted);
    for (const gone of before.difference(udpTargets(wanted))) into.goneUdp.add(gone);
    into.deletions.push(...change.deletions);
    into.additions.push(...change.additions);
    if (change.disputed.length === 0) this.#disputing.delete(key);
    else if (!this.#disputing.has(key)) {
      this.#disputing.add(key);
      this.#ctx.log.warn("a Service's address or port belongs to another Service already", { service: key });
    }
  }

  get #zone(): string | undefined {
    const { nodes, nodeName } = this.#options;
    return zoneOf(nodes?.get(nodeName));
  }

  #claimLocalhost(key: string, service: Stored<k8s.Service> | undefined): ReadonlySet<string> {
    const wishes = service && this.#options.loadBalancerOnLocalhost ? localhostWishes(service) : [];
    const { ports, clashes } = this.#localhost.claim(key, wishes);
    const now = clashes.length > 0 ? JSON.stringify(clashes) : undefined;
    if (now !== this.#clashing.get(key)) this.#options.onLocalhostClash?.(key, clashes);
    if (now === undefined) this.#clashing.delete(key);
    else this.#clashing.set(key, now);
    if (this.#clashing.size > 0 && !this.#work.closed)
      this.#clashTimer ??= this.#ctx.clock.after(CLASH_RETRY_MS, this.#retry);
    return ports;
  }

  readonly #retry = (): void => {
    this.#clashTimer = undefined;
    this.#touch([...this.#clashing.keys()]);
  };

  /** Affinity with a timeout of its own needs a chain, which is the one piece of structure that comes later. */
  async #ensureTimeouts(additions: readonly Wanted[]): Promise<void> {
    for (const { element } of additions) {
      const { verdict } = element;
      if (verdict?.kind !== "jump" || this.#timeouts.has(verdict.chain)) continue;
      await this.#nft.load(rememberRuleset(this.#table, Number(verdict.chain.slice(rememberChainName(0).length - 1))));
      this.#timeouts.add(verdict.chain);
    }
  }

  /** A UDP client that goes on sending would stay at an endpoint that has gone for as long as it sends. */
  #cutFlows(gone: ReadonlySet<string>, additions: readonly Wanted[]): void {
    const opened = new Set(additions.flatMap(({ udpOpened: one }) => (one ? `${one.address ?? ""} ${one.port}` : [])));
    if (gone.size === 0 && opened.size === 0) return;
    const isStale = (flow: Flow) => {
      if (gone.has(`${flow.answeredBy} ${flow.answeredByPort}`)) return true;
      const translated = flow.answeredBy !== flow.destination || flow.answeredByPort !== flow.destinationPort;
      return !translated && ["", flow.destination].some((address) => opened.has(`${address} ${flow.destinationPort}`));
    };
    for (const family of [4, 6] as const)
      this.#conntrack.forget(family, (flow) => flow.protocol === PROTOCOLS.udp && isStale(flow));
  }

  /** Small changes are one transaction, so that no packet meets half of one. */
  #apply(deletions: readonly Wanted[], additions: readonly Wanted[]): void {
    if (deletions.length + additions.length <= MAX_ELEMENTS) {
      this.#nft.change("inet", this.#table, [...changesOf("delete", deletions), ...changesOf("add", additions)]);
      return;
    }
    for (const part of chunks(deletions)) this.#nft.change("inet", this.#table, changesOf("delete", part));
    for (const part of chunks(additions)) this.#nft.change("inet", this.#table, changesOf("add", part));
  }

  /** Somebody has touched our table (`nft flush ruleset`): everything goes in again. */
  async #reload(): Promise<void> {
    try {
      this.#unfilled = true;
      await this.#loadTable();
      this.#timeouts.clear();
      this.#timeouts.add(rememberChainName(DEFAULT_AFFINITY_S));
      await this.#ensureTimeouts(this.#programmed.all());
      this.#apply([], this.#programmed.all());
      this.#unfilled = false;
      if (this.#dirty.size > 0) this.#work.touch();
    } catch (error) {
      this.#ctx.log.error("programming Services failed again", { error });
      this.#work.touch(RETRY_MS);
    }
  }

  /** Leaves the table in place: Services go on working while the daemon is down. */
  async close(): Promise<void> {
    this.#clashTimer?.cancel();
    await this.#work.close();
    this.#localhost.close();
    this.#health.close();
  }

  async destroyAll(): Promise<void> {
    await this.close();
    this.#nft.deleteTable("inet", this.#table);
  }
}

function zoneOf(node: Stored<k8s.Node> | undefined): string | undefined {
  return node?.metadata.labels?.["topology.kubernetes.io/zone"];
}

function* chunks<T>(all: readonly T[]): Generator<T[]> {
  for (let at = 0; at < all.length; at += MAX_ELEMENTS) yield all.slice(at, at + MAX_ELEMENTS);
}

function udpTargets(wanted: Iterable<Wanted>): Set<string> {
  const found = new Set<string>();
  for (const { udpTarget } of wanted) if (udpTarget) found.add(udpTarget);
  return found;
}
