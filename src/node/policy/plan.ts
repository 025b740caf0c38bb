import { createHash } from "node:crypto";
import type { k8s } from "../../api/index.ts";
import { labelPredicate } from "../../client/index.ts";
import type { Transport } from "../../host/index.ts";

/** A Pod as policies see it; also what answers for a Pod without being one (the cluster's DNS). */
export interface PolicyPod {
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly ips: readonly string[];
  readonly ports: readonly { readonly name: string; readonly protocol: Transport; readonly port: number }[];
  /** Runs on this node: its connections are checked here. */
  readonly local: boolean;
}

export interface PolicyWorld {
  readonly policies: readonly k8s.NetworkPolicy[];
  readonly pods: readonly PolicyPod[];
  readonly namespaces: ReadonlyMap<string, Readonly<Record<string, string>>>;
}

/** An element of a set: an address, with a second address, with protocol and port, or leading to a chain. */
export interface PolicyElement {
  readonly address: string;
  readonly second?: string;
  readonly protocol?: Transport;
  readonly port?: number;
  readonly chain?: string;
}

export interface PolicySet {
  readonly type: "address" | "pair" | "address-port" | "verdict";
  readonly family: 4 | 6;
  readonly elements: readonly PolicyElement[];
}

/** Everything that enforces a world of policies: chains with their rules, and sets whose elements follow Pods. */
export interface PolicyPlan {
  readonly chains: ReadonlyMap<string, readonly string[]>;
  readonly sets: ReadonlyMap<string, PolicySet>;
}

type Direction = "ingress" | "egress";
type Rule = k8s.NetworkPolicyIngressRule & k8s.NetworkPolicyEgressRule;
const FAMILIES = [4, 6] as const;

/** https://kubernetes.io/docs/concepts/services-networking/network-policies/. Pure; the same world gives the same plan. */
export function planPolicies(world: PolicyWorld): PolicyPlan {
  const builder = new PlanBuilder(world);
  for (const direction of ["ingress", "egress"] as const) builder.direct(direction);
  return builder;
}

class PlanBuilder implements PolicyPlan {
  readonly chains = new Map<string, string[]>();
  readonly sets = new Map<string, { type: PolicySet["type"]; family: 4 | 6; elements: PolicyElement[] }>();
  readonly #world: PolicyWorld;

  constructor(world: PolicyWorld) {
    this.#world = world;
    for (const family of FAMILIES) this.#set(`self${family}`, "pair", family);
  }

  /** The chains of every policy that applies in a direction, and for each isolated Pod the chain of all policies that select it. */
  direct(direction: Direction): void {
    for (const family of FAMILIES) this.#set(`${direction}${family}`, "verdict", family);
    const policies = this.#world.policies.filter((policy) => policyTypes(policy).includes(direction));
    const selecting = new Map<PolicyPod, string[]>();
    for (const policy of policies) {
      const name = `${direction}-${policyId(policy)}`;
      const selected = this.#world.pods.filter((pod) => pod.local && selects(policy, pod));
      this.#policyChain(name, direction, policy, selected);
      for (const pod of selected) selecting.set(pod, [...(selecting.get(pod) ?? []), name]);
    }
    for (const [pod, names] of selecting) this.#isolate(pod, direction, names);
  }

  #isolate(pod: PolicyPod, direction: Direction, policies: readonly string[]): void {
    const chain = `${direction}-all-${digest(policies.join())}`;
    if (!this.chains.has(chain)) this.chains.set(chain, [...policies.map((name) => `jump ${name}`), "goto denied"]);
    for (const address of pod.ips) {
      const family = familyOf(address);
      this.#set(`${direction}${family}`, "verdict", family).push({ address, chain });
      const self = this.#set(`self${family}`, "pair", family);
      if (!self.some((one) => one.address === address)) self.push({ address, second: address });
    }
  }

  #policyChain(name: string, direction: Direction, policy: k8s.NetworkPolicy, selected: readonly PolicyPod[]): void {
    const rules = (direction === "ingress" ? policy.spec?.ingress : policy.spec?.egress) as Rule[] | undefined;
    const lines = (rules ?? []).flatMap((rule, index) =>
      this.#ruleLines(`${name}-${index}`, direction, rule, policy.metadata?.namespace ?? "", selected),
    );
    this.chains.set(name, [...new Set(lines)]);
  }

  /** One line for each way in which a rule allows a connection. */
  #ruleLines(
    name: string,
    direction: Direction,
    rule: Rule,
    namespace: string,
    selected: readonly PolicyPod[],
  ): string[] {
    const peers = (direction === "ingress" ? rule.from : rule.to) ?? [];
    const pods = peers.length === 0 ? this.#world.pods : this.#peerPods(peers, namespace);
    const numeric = (rule.ports ?? []).filter((port) => typeof port.port !== "string");
    const ports = rule.ports?.length ? numeric.map(portMatch) : [""];
    const matches = peers.length === 0 ? [""] : this.#peerMatches(name, direction, peers, pods);
    const lines = matches.flatMap((peer) => ports.map((port) => allow(peer, port)));
    const named = (rule.ports ?? []).flatMap((port, index) =>
      typeof port.port === "string"
        ? this.#namedPort(`${name}-port-${index}`, port, direction === "ingress" ? selected : pods)
        : [],
    );
    // A name means the port of the Pod that is connected to: for egress that is the peer, so no other match is needed.
    if (direction === "egress") return [...lines, ...named.map((port) => allow(port))];
    return [...lines, ...matches.flatMap((peer) => named.map((port) => allow(peer, port)))];
  }

  #peerPods(peers: readonly k8s.NetworkPolicyPeer[], namespace: string): PolicyPod[] {
    const accepts = peers
      .filter((peer) => peer.podSelector || peer.namespaceSelector)
      .map((peer) => {
        const podMatches = labelPredicate(peer.podSelector ?? {});
        const namespaceMatches = peer.namespaceSelector && labelPredicate(peer.namespaceSelector);
        return (pod: PolicyPod) =>
          podMatches(pod.labels) &&
          (namespaceMatches
            ? namespaceMatches(this.#world.namespaces.get(pod.namespace))
            : pod.namespace === namespace);
      });
    return this.#world.pods.filter((pod) => accepts.some((accept) => accept(pod)));
  }

  #peerMatches(
    name: string,
    direction: Direction,
    peers: readonly k8s.NetworkPolicyPeer[],
    pods: readonly PolicyPod[],
  ): string[] {
    const side = direction === "ingress" ? "saddr" : "daddr";
    const matches = peers.flatMap(({ ipBlock }) => (ipBlock ? [blockMatch(ipBlock, side)] : []));
    if (!peers.some((peer) => peer.podSelector || peer.namespaceSelector)) return matches;
    for (const family of FAMILIES) {
      const addresses = pods.flatMap((pod) => pod.ips.filter((ip) => familyOf(ip) === family));
      const set = `${name}-pods${family}`;
      this.#set(set, "address", family).push(...new Set(addresses).values().map((address) => ({ address })));
      matches.push(`${ipWord(family)} ${side} @${set}`);
    }
    return matches;
  }

  #namedPort(name: string, wanted: k8s.NetworkPolicyPort, pods: readonly PolicyPod[]): string[] {
    const protocol = protocolOf(wanted);
    return FAMILIES.map((family) => {
      const set = `${name}-${family}`;
      const elements = this.#set(set, "address-port", family);
      const known = new Set<string>();
      for (const pod of pods) {
        for (const { name: own, protocol: spoken, port } of pod.ports) {
          if (own !== wanted.port || spoken !== protocol) continue;
          for (const address of pod.ips) {
            if (familyOf(address) !== family || known.has(`${address} ${port}`)) continue;
            known.add(`${address} ${port}`);
            elements.push({ address, protocol, port });
          }
        }
      }
      return `${ipWord(family)} daddr . meta l4proto . th dport @${set}`;
    });
  }

  #set(name: string, type: PolicySet["type"], family: 4 | 6): PolicyElement[] {
    const found = this.sets.get(name) ?? { type, family, elements: [] };
    this.sets.set(name, found);
    return found.elements;
  }
}

/** Without `policyTypes`: ingress always, egress when the policy has such rules. */
function policyTypes({ spec }: k8s.NetworkPolicy): Direction[] {
  const types = spec?.policyTypes?.length ? spec.policyTypes : ["Ingress", ...(spec?.egress ? ["Egress"] : [])];
  return types.map((type) => type.toLowerCase() as Direction);
}

function selects(policy: k8s.NetworkPolicy, pod: PolicyPod): boolean {
  return pod.namespace === policy.metadata?.namespace && labelPredicate(policy.spec?.podSelector ?? {})(pod.labels);
}

function portMatch(port: k8s.NetworkPolicyPort): string {
  const protocol = protocolOf(port);
  if (port.port === undefined) return `meta l4proto ${protocol}`;
  const range = port.endPort === undefined ? String(port.port) : `${port.port}-${port.endPort}`;
  return `meta l4proto ${protocol} th dport ${range}`;
}

function blockMatch(block: k8s.IPBlock, side: "saddr" | "daddr"): string {
  const field = `${ipWord(familyOf(block.cidr))} ${side}`;
  const except = block.except?.length ? ` ${field} != { ${block.except.join(", ")} }` : "";
  return `${field} ${block.cidr}${except}`;
}

const allow = (...matches: readonly string[]) => [...matches, "accept"].filter((part) => part !== "").join(" ");
const protocolOf = (port: k8s.NetworkPolicyPort) => (port.protocol ?? "TCP").toLowerCase() as Transport;
const familyOf = (address: string): 4 | 6 => (address.includes(":") ? 6 : 4);
const ipWord = (family: 4 | 6) => (family === 4 ? "ip" : "ip6");
const policyId = ({ metadata }: k8s.NetworkPolicy) => digest(`${metadata?.namespace}/${metadata?.name}`);
/** Names of chains and sets may have 31 letters in older kernels. */
const digest = (text: string) => createHash("sha256").update(text).digest("hex").slice(0, 10);
