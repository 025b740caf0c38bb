import assert from "node:assert/strict";
import { test } from "node:test";
import type { k8s } from "../../api/index.ts";
import { FakeClock, seededRandom, silentLogger } from "../../base/index.ts";
import { FakeNft } from "../../host/index.ts";
import { NetworkPolicies, type NetworkPoliciesOptions, type PolicyPod } from "./index.ts";
import { planPolicies } from "./plan.ts";
import { elementText } from "./ruleset.ts";

function pod(ip: string, labels: Record<string, string>, more: Partial<PolicyPod> = {}): PolicyPod {
  return { namespace: "default", labels, ips: [ip], ports: [], local: true, ...more };
}

function policy(spec: k8s.NetworkPolicySpec, name = "p"): k8s.NetworkPolicy {
  return { metadata: { name, namespace: "default" }, spec } as k8s.NetworkPolicy;
}

function plan(policies: k8s.NetworkPolicy[], pods: PolicyPod[]) {
  const namespaces = new Map<string, Record<string, string>>([
    ["default", {}],
    ["team", { team: "a" }],
  ]);
  const { chains, sets } = planPolicies({ policies, pods, namespaces });
  const elements = (prefix: string) =>
    [...sets].filter(([name]) => name.startsWith(prefix)).flatMap(([, set]) => set.elements.map(elementText));
  const rules = (prefix: string) =>
    [...chains]
      .filter(([name]) => name.startsWith(prefix) && !name.includes("-all-"))
      .flatMap(([, lines]) => lines.map((line) => line.replaceAll(/[0-9a-f]{10}/g, "ID")));
  return { elements, rules, chains };
}

const web = pod("10.0.0.2", { app: "web" }, { ports: [{ name: "http", protocol: "tcp", port: 8080 }] });
const client = pod("10.0.0.3", { app: "client" });
const other = pod("10.0.0.4", { app: "client" }, { namespace: "team", local: false });
const forWeb = { podSelector: { matchLabels: { app: "web" } } };

test("a policy without rules isolates the Pods it selects, on this node only, and nobody else", () => {
  const { elements, chains } = plan([policy({ podSelector: {} })], [web, client, other]);
  assert.equal(elements("ingress4").length, 2);
  assert.deepEqual(elements("egress4"), []);
  const all = [...chains].find(([name]) => name.startsWith("ingress-all-"))![1];
  assert.match(all.join("\n"), /^jump ingress-[0-9a-f]{10}\ngoto denied$/);
});

test("policyTypes: egress rules isolate egress unless the types say otherwise", () => {
  const rule = { ...forWeb, egress: [{}] };
  assert.equal(plan([policy(rule)], [web]).elements("egress4").length, 1);
  assert.equal(plan([policy({ ...rule, policyTypes: ["Ingress"] })], [web]).elements("egress4").length, 0);
  assert.equal(plan([policy({ ...rule, policyTypes: ["Egress"] })], [web]).elements("ingress4").length, 0);
  assert.deepEqual(plan([policy(rule)], [web]).rules("egress-"), ["accept"]);
});

test("peers: Pods of the namespace, Pods of chosen namespaces, both together, and blocks with exceptions", () => {
  const peersOf = (from: k8s.NetworkPolicyPeer[]) => {
    const result = plan([policy({ ...forWeb, ingress: [{ from }] })], [web, client, other]);
    return { pods: result.elements("ingress-"), rules: result.rules("ingress-") };
  };
  const podSelector = { matchLabels: { app: "client" } };
  const namespaceSelector = { matchLabels: { team: "a" } };
  assert.deepEqual(peersOf([{ podSelector }]).pods, ["10.0.0.3"]);
  assert.deepEqual(peersOf([{ namespaceSelector }]).pods, ["10.0.0.4"]);
  assert.deepEqual(peersOf([{ podSelector, namespaceSelector: {} }]).pods, ["10.0.0.3", "10.0.0.4"]);
  assert.deepEqual(peersOf([{ ipBlock: { cidr: "10.0.0.0/8", except: ["10.1.0.0/16", "10.2.0.0/16"] } }]).rules, [
    "ip saddr 10.0.0.0/8 ip saddr != { 10.1.0.0/16, 10.2.0.0/16 } accept",
  ]);
});

test("ports: numbers, ranges, a protocol alone, and names of the Pod that is connected to", () => {
  const ports = [{ port: 80 }, { port: 8000, endPort: 8100 }, { protocol: "UDP" }, { port: "http" }];
  const { rules, elements } = plan([policy({ ...forWeb, ingress: [{ ports }] })], [web, client]);
  assert.deepEqual(rules("ingress-"), [
    "meta l4proto tcp th dport 80 accept",
    "meta l4proto tcp th dport 8000-8100 accept",
    "meta l4proto udp accept",
    "ip daddr . meta l4proto . th dport @ingress-ID-0-port-3-4 accept",
    "ip6 daddr . meta l4proto . th dport @ingress-ID-0-port-3-6 accept",
  ]);
  assert.deepEqual(elements("ingress-"), ["10.0.0.2 . tcp . 8080"]);
});

test("a Pod that comes changes elements only; a policy that changes replaces the table; the last one removes it", async () => {
  const nft = new FakeNft();
  const handlers: { added?(object: unknown): void }[] = [];
  const lists: Record<string, unknown[]> = { policies: [policy({ podSelector: {} })], pods: [], namespaces: [] };
  const source = (name: string) =>
    ({ list: () => lists[name], onChange: (handler: object) => handlers.push(handler) }) as never;
  const options = { policies: source("policies"), pods: source("pods"), namespaces: source("namespaces") };
  const context = { clock: new FakeClock(), random: seededRandom(1), log: silentLogger };
  const enforced = new NetworkPolicies(
    { instance: "t", dataDir: "", runtimeDir: "", ...context },
    { ...(options as Pick<NetworkPoliciesOptions, "policies" | "pods" | "namespaces">), nodeName: "n1", nft },
  );
  const running = (name: string, podIP: string) => ({
    metadata: { name, namespace: "default" },
    spec: { nodeName: "n1" },
    status: { podIP },
  });
  lists["pods"] = [running("a", "10.0.0.2")];
  await enforced.start();
  assert.equal(nft.rulesets.length, 1);
  lists["pods"] = [running("a", "10.0.0.2"), running("b", "10.0.0.3")];
  await enforced.sync();
  assert.equal(nft.rulesets.length, 1, "no new table");
  assert.deepEqual(nft.elements("inet", nft.tables("inet")[0]!, "ingress4"), ["0a000003"]);
  lists["policies"] = [policy({ podSelector: {}, egress: [] })];
  await enforced.sync();
  assert.equal(nft.rulesets.length, 2);
  lists["policies"] = [];
  await enforced.sync();
  assert.deepEqual(nft.tables("inet"), []);
});
