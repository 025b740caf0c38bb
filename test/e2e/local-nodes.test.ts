/** Several nodes on one machine by the real kubectl and curl: what crosses between them, what stays on one, and what happens when one goes. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import os from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { instanceTag } from "../../src/base/index.ts";
import { run } from "../support/daemon.ts";
import { podOf, shell, startPods, type PodTests } from "../support/pods.ts";
import { toolsPod } from "../support/tools-pod.ts";

/** Of this process alone, so that runs beside each other don't want one port. */
const LB_PORT = 26_000 + (process.pid % 1000);
const HOST_PORT = 27_000 + (process.pid % 1000);

const hasIpv6 = existsSync("/proc/net/if_inet6");

const config = path.join(os.tmpdir(), `berth-local-nodes-${process.pid}.json`);

let pods: PodTests;
let nodes: string[] = [];
const address: Record<string, string> = {};
const ip: Record<string, string> = {};

interface Node {
  metadata: { name: string; annotations?: Record<string, string> };
  spec: { podCIDR: string; unschedulable?: boolean; taints?: { key: string; effect: string }[] };
  status: {
    conditions: { type: string; status: string; reason: string }[];
    addresses: { type: string; address: string }[];
  };
}
interface Service {
  spec: { clusterIP: string; clusterIPs: string[]; ports: { nodePort: number }[] };
  status: { loadBalancer?: { ingress?: { ip: string }[] } };
}
interface HostPortPod {
  spec: { containers: { ports: { hostPort?: number }[] }[] };
}
interface PodList {
  items: {
    metadata: { name: string; deletionTimestamp?: string };
    spec: { nodeName: string };
    status: { phase: string };
  }[];
}

before(async () => {
  // So that the cluster misses a silent node after 10 s, not 50.
  writeFileSync(config, JSON.stringify({ kubelet: { nodeLeaseDurationSeconds: 8 } }));
  pods = await startPods({ env: { BERTH_NODES: "3", BERTH_IPV6: hasIpv6 ? "1" : "0", BERTH_CONFIG: config } });
  const list = JSON.parse(await pods.kubectl("get", "nodes", "-o", "json")) as { items: Node[] };
  nodes = list.items.map(({ metadata }) => metadata.name);
  for (const { metadata, status } of list.items)
    address[metadata.name] = status.addresses.find(({ type }) => type === "InternalIP")!.address;
  const onNode = (index: number) => ({ nodeName: nodes[index] });
  const hostPort = toolsPod("mapped", { app: "mapped" }, [8080], onNode(2)) as unknown as HostPortPod;
  hostPort.spec.containers[0]!.ports[0]!.hostPort = HOST_PORT;
  await pods.apply(
    ...["a", "b", "c"].map((name, index) => toolsPod(name, { app: "web", name }, [8080], onNode(index))),
    toolsPod("own", { app: "own" }, [8181], { ...onNode(1), hostNetwork: true }),
    hostPort,
  );
  for (const name of ["a", "b", "c", "own", "mapped"]) ip[name] = (await pods.running(name)).status.podIP;
});

after(async () => {
  await pods?.berth.stop();
  rmSync(config, { force: true });
  if (!pods) return;
  const { stdout } = await run("ip", ["link"]);
  assert.ok(!stdout.includes(`berth${instanceTag(pods.berth.instance)}`), `links are left: ${stdout}`);
});

/** One command, on the machine or in a Pod. */
function inside(from: string, ...command: string[]) {
  return from === "host" ? run(command[0]!, command.slice(1)) : pods.try("exec", from, "--", ...command);
}

/** The names of those that answer over so many connections, or what curl says. */
async function answering(from: string, authority: string, count = 16): Promise<string> {
  const host = authority.replaceAll(/[[\]]/g, "\\$&");
  const url = `http://${host}/?[1-${count}]`;
  const options = ["-sS", "--noproxy", "*", "--max-time", "2", "--no-keepalive", "-H", "connection: close"];
  const { code, stdout, stderr } = await inside(from, "curl", ...options, url);
  if (code !== 0) return code === 7 ? "refused" : `exit ${code}: ${stderr}`;
  return [...new Set([...stdout.matchAll(/"name": "([\w-]+)"/g)].map((match) => match[1]!))].toSorted().join();
}

/** Rules take a moment to follow. */
async function becomes(read: () => Promise<string>, wanted: string, what: string, timeoutMs = 15_000): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const seen = await read();
    if (seen === wanted) return;
    if (Date.now() > deadline) assert.equal(seen, wanted, what);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function service(name: string, spec: Record<string, unknown> = {}): Promise<Service> {
  const common = { selector: { app: "web" }, ports: [{ port: 80, targetPort: "web" }] };
  await pods.apply({ apiVersion: "v1", kind: "Service", metadata: { name }, spec: { ...common, ...spec } });
  return pods.get<Service>("service", name);
}

async function clientSeenBy(from: string, authority: string): Promise<string> {
  const { stdout } = await inside(from, "curl", "-sS", "--noproxy", "*", "--max-time", "5", `http://${authority}/`);
  return (JSON.parse(stdout) as { client: string }).client;
}

test("nodes have names, addresses and Pod ranges of their own, and say that they share the machine", async () => {
  const list = JSON.parse(await pods.kubectl("get", "nodes", "-o", "json")) as { items: Node[] };
  assert.equal(new Set(list.items.map(({ spec }) => spec.podCIDR)).size, 3);
  assert.equal(new Set(Object.values(address)).size, 3);
  assert.match(list.items[1]!.metadata.annotations!["berth.dev/shares-machine"]!, /whole machine/);
  const { stdout } = await pods.berth.berth("node", "ls", "--json");
  assert.deepEqual(
    (JSON.parse(stdout) as { name: string; state: string }[]).map(({ name, state }) => [name, state]),
    nodes.map((name) => [name, "running"]),
  );
});

test("Pods of each node reach those of every other by their own address, and so does the machine", async () => {
  for (const from of ["a", "b", "c"])
    for (const to of ["a", "b", "c"])
      if (from !== to) assert.equal(await clientSeenBy(from, `${ip[to]}:8080`), ip[from], `${from} to ${to}`);
  for (const to of ["b", "c"]) assert.equal(await answering("host", `${ip[to]}:8080`, 1), to);
});

test("Services answer from each node: by name, on each node's port, by the load balancer's address", async () => {
  const { spec } = await service("web", { type: "LoadBalancer", ports: [{ port: LB_PORT, targetPort: "web" }] });
  const [{ nodePort }] = spec.ports as [{ nodePort: number }];
  for (const from of ["a", "b", "c", "own", "host"])
    await becomes(() => answering(from, `${spec.clusterIP}:${LB_PORT}`), "a,b,c", `ClusterIP from ${from}`);
  for (const from of ["a", "b", "c"])
    await becomes(() => answering(from, `web:${LB_PORT}`), "a,b,c", `name from ${from}`);
  for (const node of nodes)
    for (const from of ["host", "c"])
      await becomes(
        () => answering(from, `${address[node]}:${nodePort}`),
        "a,b,c",
        `node port of ${node} from ${from}`,
      );
  const { status } = await pods.until<Service>("service", "web", (one) => one.status.loadBalancer?.ingress);
  const balancer = `${status.loadBalancer!.ingress![0]!.ip}:${LB_PORT}`;
  for (const from of ["host", "b"])
    await becomes(() => answering(from, balancer), "a,b,c", `load balancer from ${from}`);
});

test("IPv6: Pods, Services, node ports, load balancers, names", { skip: !hasIpv6 && "no IPv6 here" }, async () => {
  const port = LB_PORT + 1;
  const ports = [{ port, targetPort: "web" }];
  const { spec } = await service("six", { type: "LoadBalancer", ipFamilyPolicy: "RequireDualStack", ports });
  const [, six = ""] = spec.clusterIPs;
  const list = await pods.get<{ status: { podIPs: { ip: string }[] } }>("pod", "c");
  const podIp = list.status.podIPs[1]!.ip;
  assert.equal(await answering("a", `[${podIp}]:8080`, 1), "c");
  assert.equal(await answering("host", `[${podIp}]:8080`, 1), "c");
  for (const from of ["a", "b", "host"])
    await becomes(() => answering(from, `[${six}]:${port}`), "a,b,c", `IPv6 ClusterIP from ${from}`);
  const names = await inside("b", "dig", "+short", "AAAA", "six.default.svc.cluster.local");
  assert.equal(names.stdout.trim(), six);
  const { status } = await pods.until<Service>("service", "six", (one) => one.status.loadBalancer?.ingress?.[1]);
  await becomes(() => answering("b", `[${status.loadBalancer!.ingress![1]!.ip}]:${port}`), "a,b,c", "load balancer");
  const single = await pods.try("patch", "service", "six", "-p", '{"spec":{"ipFamilyPolicy":"SingleStack"}}');
  assert.equal(single.code, 0, single.stderr);
  assert.equal((await pods.get<Service>("service", "six")).spec.clusterIPs.length, 1);
  await becomes(() => answering("a", `[${six}]:${port}`, 1), "refused", "the address that was given up");
});

test("Pods of a further node have a way out over IPv6", { skip: !hasIpv6 && "no IPv6 here" }, async () => {
  const outside = `fd0b:e47:${(process.pid % 0xffff).toString(16)}::1`;
  const added = await run("ip", ["-6", "addr", "add", `${outside}/128`, "dev", "lo"]);
  assert.equal(added.code, 0, added.stderr);
  const server = createServer((request, response) => response.end(request.socket.remoteAddress));
  try {
    await new Promise<void>((resolve) => server.listen(0, outside, resolve));
    const { port } = server.address() as AddressInfo;
    const node = await pods.get<Node>("node", nodes[2]!);
    const [, own] = node.status.addresses.filter(({ type }) => type === "InternalIP");
    const { stdout, stderr } = await inside(
      "c",
      "curl",
      "-sS",
      "-g",
      "--max-time",
      "5",
      `http://[${outside}]:${port}/`,
    );
    assert.equal(stdout, own!.address, `under the node's address; ${stderr}`);
  } finally {
    server.closeAllConnections();
    server.close();
    await run("ip", ["-6", "addr", "del", `${outside}/128`, "dev", "lo"]);
  }
});

test("externalTrafficPolicy Local answers with the node's own Pods and shows them who asks", async () => {
  const { spec } = await service("local", { type: "NodePort", externalTrafficPolicy: "Local" });
  const port = spec.ports[0]!.nodePort;
  await becomes(() => answering("host", `${address[nodes[1]!]}:${port}`), "b", "the second node's");
  await becomes(() => answering("host", `${address[nodes[2]!]}:${port}`), "c", "the third node's");
  assert.equal(await clientSeenBy("host", `${address[nodes[1]!]}:${port}`), address[nodes[1]!]!.replace(/2$/, "1"));
  const only = await service("only", { type: "NodePort", externalTrafficPolicy: "Local", selector: { name: "b" } });
  const elsewhere = `${address[nodes[2]!]}:${only.spec.ports[0]!.nodePort}`;
  await becomes(() => answering("c", elsewhere, 1), "b", "a Pod is inside the cluster");
  assert.match(await answering("host", elsewhere, 1), /^exit 28/, "from outside there is no answer");
});

test("trafficDistribution PreferSameNode: each node's own endpoint answers while there is one", async () => {
  const { spec } = await service("near", { trafficDistribution: "PreferSameNode" });
  for (const from of ["a", "b", "c"])
    await becomes(() => answering(from, `${spec.clusterIP}:80`), from, `the nearest to ${from}`);
});

test("the host network and host ports of a Pod are its node's", async () => {
  assert.equal(ip["own"], address[nodes[1]!]);
  assert.equal(await clientSeenBy("own", `${ip["c"]}:8080`).then((seen) => seen !== ip["b"]), true);
  assert.equal(await answering("host", `${address[nodes[1]!]}:8181`, 1), nodes[1], "its host name is the node's");
  await becomes(() => answering("host", `${address[nodes[2]!]}:${HOST_PORT}`, 1), "mapped", "the third node's port");
  await becomes(() => answering("b", `${address[nodes[2]!]}:${HOST_PORT}`, 1), "mapped", "from a Pod of another node");
  await becomes(() => answering("mapped", `${address[nodes[2]!]}:${HOST_PORT}`, 1), "mapped", "from the Pod itself");
  assert.equal(await answering("host", `${address[nodes[1]!]}:${HOST_PORT}`, 1), "refused");
});

test("logs, exec and port-forward lead to Pods of each node, and a claim's volume is where its Pod is", async () => {
  const volumes = [{ name: "data", persistentVolumeClaim: { claimName: "data" } }];
  const spec = { nodeSelector: { "kubernetes.io/hostname": nodes[2] }, volumes };
  const volumeMounts = [{ name: "data", mountPath: "/data" }];
  await pods.apply(
    {
      apiVersion: "v1",
      kind: "PersistentVolumeClaim",
      metadata: { name: "data" },
      spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Mi" } } },
    },
    podOf("speaker", "echo from the third; touch /data/file; sleep 600", spec, { volumeMounts }),
  );
  await pods.running("speaker");
  assert.equal(await pods.kubectl("logs", "speaker"), "from the third\n");
  assert.equal(await pods.exec("speaker", "hostname"), "speaker\n");
  const forward = pods.spawn("port-forward", "pod/b", ":8080");
  try {
    const line = await new Promise<string>((resolve) => forward.stdout!.once("data", (data) => resolve(String(data))));
    assert.equal(await answering("host", `127.0.0.1:${/127\.0\.0\.1:(\d+)/.exec(line)![1]}`, 1), "b");
  } finally {
    forward.kill();
  }
});

test("a policy holds on the node of its Pod, and the node's own probes go on", async () => {
  await pods.apply({
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name: "b-for-a" },
    spec: {
      podSelector: { matchLabels: { name: "b" } },
      ingress: [{ from: [{ podSelector: { matchLabels: { name: "a" } } }] }],
    },
  });
  await becomes(() => answering("c", `${ip["b"]}:8080`, 1), "refused", "c is not allowed");
  assert.equal(await answering("a", `${ip["b"]}:8080`, 1), "b");
  const probes = async () =>
    (await pods.get("pod", "b")).status.conditions.find(({ type }) => type === "Ready")!.status;
  assert.equal(await probes(), "True");
  await pods.kubectl("delete", "networkpolicy", "b-for-a");
  await becomes(() => answering("c", `${ip["b"]}:8080`, 1), "b", "c is allowed again");
});

test("the daemon is killed: every node's Pods run on, and are found again", async () => {
  const before = await Promise.all(["a", "b", "c"].map((name) => pods.get("pod", name)));
  await pods.berth.kill();
  assert.equal(await answering("host", `${ip["c"]}:8080`, 1), "c");
  await pods.berth.start();
  for (const { metadata, status } of before) {
    const now = await pods.running(metadata.name);
    assert.equal(now.status.containerStatuses![0]!.containerID, status.containerStatuses![0]!.containerID);
    assert.equal(now.status.containerStatuses![0]!.restartCount, 0);
  }
  const { spec } = await pods.get<Service>("service", "web");
  for (const from of ["a", "c"])
    await becomes(() => answering(from, `${spec.clusterIP}:${LB_PORT}`), "a,b,c", `ClusterIP from ${from}`);
});

function readyOf(node: Node): Node["status"]["conditions"][number] {
  return node.status.conditions.find(({ type }) => type === "Ready")!;
}

/** The Pods of the Deployment that are meant to stay, as `node: how many`. */
async function placement(): Promise<string> {
  const { items } = JSON.parse(await pods.kubectl("get", "pods", "-l", "app=spread", "-o", "json")) as PodList;
  const live = items.filter(({ metadata, status }) => !metadata.deletionTimestamp && status.phase === "Running");
  return nodes.map((name) => live.filter(({ spec }) => spec.nodeName === name).length).join();
}

function sum(counts: string): number {
  return counts.split(",").reduce((total, count) => total + Number(count), 0);
}

test("spread, drain, and a node that loses its power: Pods move, and the node comes back", async () => {
  const soon = ["not-ready", "unreachable"].map((name) => ({
    key: `node.kubernetes.io/${name}`,
    operator: "Exists",
    effect: "NoExecute",
    tolerationSeconds: 0,
  }));
  const spread = { maxSkew: 1, topologyKey: "kubernetes.io/hostname", whenUnsatisfiable: "DoNotSchedule" };
  const matching = { labelSelector: { matchLabels: { app: "spread" } }, nodeTaintsPolicy: "Honor" };
  await pods.apply({
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: "spread" },
    spec: {
      replicas: 3,
      selector: { matchLabels: { app: "spread" } },
      template: {
        metadata: { labels: { app: "spread" } },
        spec: {
          terminationGracePeriodSeconds: 0,
          topologySpreadConstraints: [{ ...spread, ...matching }],
          tolerations: soon,
          containers: [shell("main", "sleep 600")],
        },
      },
    },
  });
  await becomes(placement, "1,1,1", "one on each node");
  const [, second = "", third = ""] = nodes;
  await pods.kubectl("drain", second, "--ignore-daemonsets", "--force", "--timeout=30s", "--pod-selector=app=spread");
  await becomes(async () => (await placement()).split(",")[1]!, "0", "the drained node is empty");
  await becomes(async () => String(sum(await placement())), "3", "they run elsewhere");
  await pods.kubectl("uncordon", second);

  assert.equal((await pods.berth.berth("node", "stop", third)).code, 0);
  assert.equal(readyOf(await pods.get<Node>("node", third)).status, "False");
  await becomes(async () => (await placement()).split(",")[2]!, "0", "the dead node has none that counts");
  await becomes(async () => String(sum(await placement())), "3", "they are replaced");
  assert.equal((await inside("host", "curl", "-s", "--max-time", "1", `http://${ip["c"]}:8080/`)).code !== 0, true);
  await pods.until("pod", "c", (pod) =>
    pod.status.conditions.some((one) => one.type === "Ready" && one.status === "False"),
  );
  const { spec } = await pods.get<Service>("service", "web");
  await becomes(
    () => answering("a", `${spec.clusterIP}:${LB_PORT}`, 10),
    "a,b",
    "the Service leaves the dead node out",
  );

  assert.equal((await pods.berth.berth("node", "start", third)).code, 0);
  await pods.until<Node>("node", third, (node) => readyOf(node).status === "True");
  await pods.apply(podOf("after", "echo back", { nodeSelector: { "kubernetes.io/hostname": third } }));
  assert.equal(await pods.finished("after"), "back\n");
});

test("a node that falls silent is missed: Unknown, unreachable, its Pods replaced; and what is left of them goes when it is back", async () => {
  const third = nodes[2]!;
  const { code, stderr } = await pods.berth.berth("node", "stop", third, "--silent");
  assert.equal(code, 0, stderr);
  const lost = await pods.until<Node>("node", third, (node) => readyOf(node).status === "Unknown");
  assert.equal(readyOf(lost).reason, "NodeStatusUnknown");
  await becomes(async () => (await placement()).split(",")[2]!, "0", "the silent node has none that counts", 30_000);
  await becomes(async () => String(sum(await placement())), "3", "they are replaced");
  const taints = async () =>
    (await pods.get<Node>("node", third)).spec.taints?.map(({ key, effect }) => `${key} ${effect}`) ?? [];
  const missed = ["NoSchedule", "NoExecute"].map((effect) => `node.kubernetes.io/unreachable ${effect}`);
  assert.deepEqual((await taints()).toSorted(), missed.toSorted());
  assert.equal((await pods.berth.berth("node", "start", third)).code, 0);
  await becomes(async () => (await taints()).join(), "", "the taints are gone");
  const all = async () => (await pods.kubectl("get", "pods", "-l", "app=spread", "-o", "name")).trim().split("\n");
  await becomes(async () => String((await all()).length), "3", "none is left that was to go");
});

test("a node is added, and removed with everything it had", async () => {
  const { stdout, code, stderr } = await pods.berth.berth("node", "add");
  assert.equal(code, 0, stderr);
  const name = stdout.trim();
  await pods.apply(toolsPod("d", { app: "web", name: "d" }, [8080], { nodeName: name }));
  await pods.running("d");
  const { spec } = await pods.get<Service>("service", "web");
  await becomes(
    async () => String((await answering("b", `${spec.clusterIP}:${LB_PORT}`)).includes("d")),
    "true",
    "d answers",
  );
  const pin = `${pods.berth.runtimeDir}/nodes/4`;
  assert.ok(existsSync(pin));
  const removed = await pods.berth.berth("node", "remove", name);
  assert.equal(removed.code, 0, removed.stderr);
  assert.ok(!existsSync(pin));
  assert.equal((await pods.try("get", "node", name)).code, 1);
  assert.equal((await pods.try("get", "pod", "d")).code, 1);
  assert.ok(!readFileSync("/proc/self/mountinfo", "utf8").includes(pin));
  const refused = await pods.berth.berth("node", "remove", nodes[0]!);
  assert.match(refused.stderr, /is the machine itself/);
});
