import type { k8s } from "../../api/index.ts";
import { kernelName, type InstanceContext } from "../../base/index.ts";
import type { Lister, Stored } from "../../client/index.ts";
import {
  LinuxNft,
  nftAddress,
  nftKey,
  nftPort,
  nftProtocol,
  type NftChange,
  type NftElement,
  type NftHost,
  type Transport,
} from "../../host/index.ts";
import { SettledWork } from "../settled-work.ts";
import { planPolicies, type PolicyElement, type PolicyPlan, type PolicyPod } from "./plan.ts";
import { elementText, policyRuleset, structureOf } from "./ruleset.ts";

/** Changes that arrive within this are programmed together. */
const SETTLE_MS = 5;
const RETRY_MS = 1000;

interface Source<T> extends Pick<Lister<T & object>, "list"> {
  onChange(handler: {
    added?(object: Stored<T & object>): void;
    updated?(object: Stored<T & object>, old: Stored<T & object>): void;
    deleted?(object: Stored<T & object>): void;
  }): unknown;
}

export interface NetworkPoliciesOptions {
  readonly policies: Source<k8s.NetworkPolicy>;
  readonly pods: Source<k8s.Pod>;
  readonly namespaces: Source<k8s.Namespace>;
  readonly nodeName: string;
  /** What policies may name although it is no Pod: the cluster's DNS, as `k8s-app=kube-dns` in kube-system. */
  readonly furtherPeers?: readonly PolicyPod[];
  /** Where this node's own agent speaks from when that is another namespace: its probes are as the node's own. */
  readonly agents?: readonly string[];
  /** Tells several local nodes of one instance apart; default none. */
  readonly node?: string;
  readonly nft?: NftHost;
}

/**
 * Enforces NetworkPolicies on this node's Pods. Pods that come and go are elements of sets; a policy that changes replaces the table in one transaction. Without
 * policies there is no table.
 */
export class NetworkPolicies {
  readonly #ctx: InstanceContext;
  readonly #options: NetworkPoliciesOptions;
  readonly #nft: NftHost;
  readonly #table: string;
  #structure: string | undefined;
  #plan: PolicyPlan | undefined;
  readonly #work: SettledWork;

  constructor(ctx: InstanceContext, options: NetworkPoliciesOptions) {
    this.#ctx = ctx;
    this.#options = options;
    this.#nft = options.nft ?? new LinuxNft();
    this.#table = kernelName(ctx.instance, `n${options.node ?? ""}`);
    this.#work = new SettledWork(ctx.clock, SETTLE_MS, () => this.#program());
  }

  /** Call after the informers have synced. */
  async start(): Promise<void> {
    const { policies, pods, namespaces } = this.#options;
    const always = () => this.#work.touch();
    const whenUsed = () => {
      if (policies.list().length > 0) this.#work.touch();
    };
    policies.onChange({ added: always, updated: always, deleted: always });
    pods.onChange({
      added: whenUsed,
      updated: (pod, old) => {
        if (concerns(pod) !== concerns(old)) whenUsed();
      },
      deleted: whenUsed,
    });
    namespaces.onChange({ added: whenUsed, updated: whenUsed, deleted: whenUsed });
    await this.sync();
  }

  /** Programs what has changed. Resolves when it is in the kernel; a failure is logged and tried again. */
  sync(): Promise<void> {
    return this.#work.now();
  }

  async #program(): Promise<void> {
    try {
      if (this.#options.policies.list().length === 0) return this.#clear();
      const plan = planPolicies(this.#world());
      const structure = structureOf(plan);
      if (structure === this.#structure && this.#plan) this.#changeElements(this.#plan, plan);
      else await this.#nft.load(policyRuleset(this.#table, plan, this.#options.agents));
      this.#structure = structure;
      this.#plan = plan;
    } catch (error) {
      this.#ctx.log.error("programming network policies failed; it is tried again", { error });
      this.#structure = undefined;
      this.#work.touch(RETRY_MS);
    }
  }

  /** A table of a former run may be there, so this is done at the start as well. */
  #clear(): void {
    if (this.#structure === "") return;
    this.#nft.deleteTable("inet", this.#table);
    this.#structure = "";
    this.#plan = undefined;
  }

  #changeElements(before: PolicyPlan, after: PolicyPlan): void {
    const deletions: NftChange[] = [];
    const additions: NftChange[] = [];
    for (const [set, { elements }] of after.sets) {
      const old = new Map(before.sets.get(set)?.elements.map((one) => [elementText(one), one]));
      const wanted = new Map(elements.map((one) => [elementText(one), one]));
      const gone = [...old].filter(([text]) => !wanted.has(text)).map(([, one]) => encode(one));
      const come = [...wanted].filter(([text]) => !old.has(text)).map(([, one]) => encode(one));
      if (gone.length > 0) deletions.push({ op: "delete", set, elements: gone });
      if (come.length > 0) additions.push({ op: "add", set, elements: come });
    }
    this.#nft.change("inet", this.#table, [...deletions, ...additions]);
  }

  #world() {
    const { policies, pods, namespaces, nodeName, furtherPeers = [] } = this.#options;
    return {
      policies: policies.list(),
      pods: [...pods.list().flatMap((pod) => policyPod(pod, nodeName) ?? []), ...furtherPeers],
      namespaces: new Map(namespaces.list().map(({ metadata }) => [metadata.name, metadata.labels ?? {}])),
    };
  }

  /** Leaves the table in place: policies hold while the daemon is down. */
  async close(): Promise<void> {
    await this.#work.close();
  }

  async destroyAll(): Promise<void> {
    await this.close();
    this.#nft.deleteTable("inet", this.#table);
  }
}

/** What of a Pod policies look at. */
function concerns({ metadata, status }: Stored<k8s.Pod>): string {
  return JSON.stringify([metadata.labels, status?.podIPs, status?.podIP, status?.phase]);
}

/** undefined for Pods that policies have nothing to do with: those without an address, on the node's network, or at their end. */
function policyPod({ metadata, spec, status }: Stored<k8s.Pod>, nodeName: string): PolicyPod | undefined {
  const ips = status?.podIPs?.length ? status.podIPs.map((one) => one.ip) : [status?.podIP ?? ""];
  const over = status?.phase === "Succeeded" || status?.phase === "Failed";
  if (spec?.hostNetwork || over || !ips[0]) return undefined;
  const containers = [...(spec?.containers ?? []), ...(spec?.initContainers ?? [])];
  return {
    namespace: metadata.namespace ?? "",
    labels: metadata.labels ?? {},
    ips,
    local: spec?.nodeName === nodeName,
    ports: containers.flatMap((container) =>
      (container.ports ?? []).flatMap(({ name, protocol = "TCP", containerPort }) =>
        name ? [{ name, protocol: protocol.toLowerCase() as Transport, port: containerPort }] : [],
      ),
    ),
  };
}

function encode({ address, second, protocol, port, chain }: PolicyElement): NftElement {
  const parts = [nftAddress(address)];
  if (second !== undefined) parts.push(nftAddress(second));
  if (protocol !== undefined) parts.push(nftProtocol(protocol));
  if (port !== undefined) parts.push(nftPort(port));
  return { key: nftKey(...parts), ...(chain !== undefined && { verdict: { kind: "goto", chain } }) };
}
