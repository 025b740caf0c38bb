/** The Pod network and the service proxy on the real kernel, with plain objects instead of an API server. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { kernelName, silentLogger, systemClock, systemRandom } from "../../src/base/index.ts";
import { LinuxNetlinkHost, LinuxNft } from "../../src/host/index.ts";
import { PodNet } from "../../src/node/podnet/index.ts";
import { ServiceProxy, type ServiceSource, type SliceSource } from "../../src/node/proxy/index.ts";
import { fetchIn, killAll, runIn, serveIn } from "../support/netns.ts";

const root = mkdtempSync("/tmp/berth-podnet-");
const clocks = { clock: systemClock, random: systemRandom, log: silentLogger };
const instance = `pods-${process.pid}`;
const ctx = { instance, dataDir: path.join(root, "data"), runtimeDir: path.join(root, "run"), ...clocks };
const CIDR = `10.${200 + (process.pid % 50)}.7.0/24`;
const hasIpv6 = existsSync("/proc/sys/net/ipv6");
const CIDRS = hasIpv6 ? `${CIDR},fd77:${process.pid.toString(16)}::/64` : CIDR;
const VIP = "10.96.77.10";
const VIP6 = "fd96::77:10";

interface Item {
  service: Record<string, unknown>;
  slices: unknown[];
}
const items = new Map<string, Item>();
const handlers: { updated?(object: unknown, old: unknown): void }[] = [];
const onChange = (handler: (typeof handlers)[number]) => handlers.push(handler);
const services = {
  get: (key: string) => items.get(key)?.service,
  list: () => [],
  onChange,
} as unknown as ServiceSource;
const slices = {
  byIndex: (_: string, key: string) => items.get(key)?.slices ?? [],
  onChange,
} as unknown as SliceSource;

const net = new PodNet(ctx);
const proxy = new ServiceProxy(ctx, { nodeName: "n1", loadBalancerOnLocalhost: true, services, slices });
const pods: { id: string; netnsPath: string; ip: string; ip6: string }[] = [];

async function put(
  name: string,
  spec: Record<string, unknown>,
  endpoints: readonly string[],
  status = {},
  targetPort = 8080,
): Promise<void> {
  const metadata = { name, namespace: "default" };
  const sliceOf = (family: 4 | 6) => ({
    metadata,
    addressType: `IPv${family}`,
    ports: ((spec["ports"] as { name?: string }[] | undefined) ?? [{}]).map(({ name }) => ({
      name,
      port: targetPort,
      protocol: "TCP",
    })),
    endpoints: endpoints
      .filter((address) => address.includes(":") === (family === 6))
      .map((address) => ({ addresses: [address], conditions: { ready: true }, nodeName: "n1" })),
  });
  const service = { metadata, spec: { clusterIP: VIP, ports: [{ port: 80, protocol: "TCP" }], ...spec }, status };
  items.set(`default/${name}`, { service, slices: [sliceOf(4), sliceOf(6)] });
  handlers[0]!.updated!(service, service);
  await proxy.sync();
}

before(async () => {
  await net.setPodCidr(CIDRS);
  await proxy.start();
  for (const id of ["a", "b", "c"]) {
    const { netnsPath, ips } = await net.add({ id });
    await serveIn(netnsPath, 8080, id, hasIpv6 ? "::" : "0.0.0.0");
    pods.push({ id, netnsPath, ip: ips[0]!, ip6: ips[1] ?? "" });
  }
});

after(async () => {
  killAll();
  await proxy.destroyAll();
  await net.destroyAll();
  rmSync(root, { recursive: true, force: true });
});

/** Which Pods answer, over so many requests. */
async function answering(from: string, authority: string, count = 24): Promise<string[]> {
  const answers = await Promise.all(Array.from({ length: count }, () => fetchIn(from, authority)));
  return [...new Set(answers.map((answer) => answer.split(" ")[0]!))].sort();
}

test("Pods reach each other under their own addresses, and the host reaches them", async () => {
  const [a, b] = pods;
  assert.equal(await fetchIn(a!.netnsPath, `${b!.ip}:8080`), `b ${a!.ip}`);
  assert.match(await fetchIn("", `${b!.ip}:8080`), /^b /);
});

test("a Service balances over its endpoints, from a Pod and from the host, and a Pod sees who asks", async () => {
  await put(
    "web",
    {},
    pods.map((pod) => pod.ip),
  );
  assert.deepEqual(await answering(pods[0]!.netnsPath, `${VIP}:80`), ["a", "b", "c"]);
  assert.deepEqual(await answering("", `${VIP}:80`), ["a", "b", "c"]);
  await put("web", {}, [pods[1]!.ip]);
  assert.equal(await fetchIn(pods[0]!.netnsPath, `${VIP}:80`), `b ${pods[0]!.ip}`);
});

test("a Pod reaches itself through its Service", async () => {
  await put("web", {}, [pods[0]!.ip]);
  assert.match(await fetchIn(pods[0]!.netnsPath, `${VIP}:80`), /^a /);
});

test("without endpoints, and on a port the Service does not have, connections are refused at once", async () => {
  await put("web", {}, []);
  for (const from of ["", pods[0]!.netnsPath]) {
    await assert.rejects(fetchIn(from, `${VIP}:80`), /exit 7 /);
    await assert.rejects(fetchIn(from, `${VIP}:81`), /exit 7 /);
  }
});

test("NodePort and LoadBalancer answer on localhost and on the host's addresses", async () => {
  const nodePort = 31000 + (process.pid % 1000);
  const port = 21000 + (process.pid % 1000);
  const spec = { type: "LoadBalancer", ports: [{ port, protocol: "TCP", nodePort }] };
  await put(
    "web",
    spec,
    pods.map((pod) => pod.ip),
    { loadBalancer: { ingress: [{ ip: "198.51.100.77" }] } },
  );
  for (const authority of [`127.0.0.1:${nodePort}`, `127.0.0.1:${port}`, `198.51.100.77:${port}`]) {
    assert.deepEqual(await answering("", authority), ["a", "b", "c"], authority);
  }
  const gateway = (await runIn(pods[0]!.netnsPath, ["ip", "route", "show", "default"])).split(" ")[2]!;
  assert.match(await fetchIn(pods[0]!.netnsPath, `${gateway}:${nodePort}`), /^[abc] /);
});

test("source ranges keep a load balancer's address to some clients", async () => {
  const [a, b] = [pods[0]!, pods[1]!];
  const spec = { type: "LoadBalancer", loadBalancerSourceRanges: [`${a.ip}/32`, "203.0.113.0/24"] };
  const status = { loadBalancer: { ingress: [{ ip: "198.51.100.78" }] } };
  await put("web", { ...spec, ports: [{ port: 22_000 + (process.pid % 1000), protocol: "TCP" }] }, [b.ip], status);
  const authority = `198.51.100.78:${22_000 + (process.pid % 1000)}`;
  assert.match(await fetchIn(a.netnsPath, authority), /^b /);
  await assert.rejects(fetchIn(b.netnsPath, authority), /exit 28 /);
});

/** Two processes that ask each port at the same moment, on a processor each; prints the ports at which two answered. */
const RACE = `
import os, socket, sys, time
host, ports, start = sys.argv[1], int(sys.argv[2]), time.time() + 0.3
def ask(port):
    s = socket.create_connection((host, port), 5)
    s.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
    answer = b""
    while piece := s.recv(4096): answer += piece
    return answer.split(b"\\r\\n\\r\\n")[1][:1]
readers = []
for cpu in sorted(os.sched_getaffinity(0))[:2]:
    r, w = os.pipe()
    if os.fork() == 0:
        os.sched_setaffinity(0, [cpu])
        for at in range(ports):
            while time.time() < start + at * 0.004: pass
            os.write(w, ask(1000 + at))
        os._exit(0)
    os.close(w); readers.append(os.fdopen(r, "rb"))
answers = [reader.read() for reader in readers]
assert all(len(answer) == ports for answer in answers)
print([1000 + at for at, both in enumerate(zip(*answers)) if len(set(both)) > 1])
`;
const RACES = 100;

for (const { family, vip, skip } of [
  { family: 4, vip: VIP, skip: false },
  { family: 6, vip: VIP6, skip: !hasIpv6 && "no IPv6 here" },
]) {
  const sticky = { sessionAffinity: "ClientIP", clusterIP: vip, clusterIPs: [vip] };
  const addresses = () => pods.map((pod) => (family === 6 ? pod.ip6 : pod.ip));

  test(
    `IPv${family}: session affinity keeps a client at one endpoint, also when it begins with several connections at once`,
    { skip },
    async () => {
      const client = pods[0]!.netnsPath;
      const ports = Array.from({ length: RACES }, (_, at) => ({ name: `p${at}`, port: 1000 + at, protocol: "TCP" }));
      await put("web", { ...sticky, ports }, addresses());
      assert.equal(await runIn(client, ["python3", "-c", RACE, vip, String(RACES)]), "[]");
    },
  );
}

test(
  "IPv6: a client whose endpoint has gone gets another, and one that was idle for the timeout may",
  { skip: !hasIpv6 && "no IPv6 here" },
  async () => {
    const client = pods[0]!.netnsPath;
    const all = pods.map((pod) => pod.ip6);
    const sticky = { sessionAffinity: "ClientIP", clusterIP: VIP6, clusterIPs: [VIP6] };
    await put("web", sticky, all);
    const [first] = await answering(client, `[${VIP6}]:80`, 1);
    const rest = pods.filter((pod) => pod.id !== first).map((pod) => pod.ip6);
    await put("web", sticky, rest);
    const [second] = await answering(client, `[${VIP6}]:80`, 1);
    assert.notEqual(second, first);
    await put("web", sticky, all);
    assert.deepEqual(await answering(client, `[${VIP6}]:80`, 8), [second]);
    const clientIP = { timeoutSeconds: 1 };
    await put("web", { ...sticky, sessionAffinityConfig: { clientIP } }, all);
    const seen = new Set([second]);
    for (let tries = 0; tries < 40 && seen.size < 2; tries++) {
      await systemClock.sleep(1100);
      seen.add((await answering(client, `[${VIP6}]:80`, 1))[0]!);
    }
    assert.equal(seen.size, 2);
  },
);

/** Accepts one connection, sends beside it a segment far beyond its window, and says whether what follows still arrives. */
const STRAY = `
import socket, struct, sys
TCP_REPAIR, TCP_REPAIR_QUEUE, TCP_QUEUE_SEQ = 19, 20, 21
listener = socket.socket(); listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); listener.bind(("0.0.0.0", 9090)); listener.listen()
print("ready", flush=True)
connection, peer = listener.accept()
connection.settimeout(10)
connection.recv(5)
own = connection.getsockname()
def next_of(queue):
    connection.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, queue)
    return struct.unpack("I", connection.getsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ, 4))[0]
connection.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
received, sent = next_of(1), next_of(2)
connection.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, -1)
def segment(checksum):
    return struct.pack("!HHIIBBHHH", own[1], peer[1], (sent + 10000000) % 2**32, received, 5 << 4, 0x18, 1000, checksum, 0) + b"lost"
pseudo = socket.inet_aton(own[0]) + socket.inet_aton(peer[0]) + struct.pack("!BBH", 0, 6, len(segment(0)))
total = sum(struct.unpack("!%dH" % (len(pseudo + segment(0)) // 2), pseudo + segment(0)))
while total >> 16: total = (total & 0xffff) + (total >> 16)
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
raw.sendto(segment(~total & 0xffff), (peer[0], 0))
connection.sendall(b"go on")
try: print(connection.recv(5).decode() or "closed")
except OSError as error: print(error)
`;
const CALM_CLIENT = `
import socket, sys, time
s = socket.create_connection((sys.argv[1], 80), 5); s.sendall(b"begin"); s.recv(5); time.sleep(0.5); s.sendall(b"still")
`;

test("a stray segment that the kernel cannot put to a connection does not end a client's connection to a Service", async () => {
  const [client, server] = [pods[0]!, pods[1]!];
  const ports = [{ port: 80, protocol: "TCP" }];
  await put("web", { ports }, [server.ip], {}, 9090);
  const listening = spawn("nsenter", [`--net=${server.netnsPath}`, "python3", "-c", STRAY]);
  try {
    let said = "";
    listening.stdout.on("data", (data) => (said += String(data)));
    listening.stderr.on("data", (data) => (said += String(data)));
    const ended = new Promise((resolve) => listening.once("close", resolve));
    while (said === "") await systemClock.sleep(10);
    await runIn(client.netnsPath, ["python3", "-c", CALM_CLIENT, VIP]);
    await ended;
    assert.equal(said, "ready\nstill\n");
  } finally {
    listening.kill("SIGKILL");
  }
});

interface IperfReport {
  readonly end?: { readonly sum_received?: { readonly bits_per_second: number } };
}

test("bandwidth annotations hold in both directions", async () => {
  const annotations = { "kubernetes.io/ingress-bandwidth": "40M", "kubernetes.io/egress-bandwidth": "80M" };
  const slow = await net.add({ id: "slow", config: { annotations } });
  const server = runIn(slow.netnsPath, ["iperf3", "-s"]).catch(() => "");
  const measure = async (...options: string[]) => {
    for (let tries = 0; ; tries++) {
      const words = ["iperf3", "-J", "-c", slow.ips[0]!, "-t", "1", ...options];
      const output = await runIn(pods[0]!.netnsPath, words).catch((error: Error) => error);
      // A server that is not up yet is told of by an answer without an end, and by exit code 0.
      const end = typeof output === "string" ? (JSON.parse(output) as IperfReport).end : undefined;
      if (end?.sum_received) return end.sum_received.bits_per_second / 1e6;
      if (tries > 20) throw output instanceof Error ? output : new Error(output);
      await systemClock.sleep(100);
    }
  };
  const [into, outOf] = [await measure(), await measure("--reverse")];
  assert.ok(into > 10 && into < 70, `in: ${into} Mbit/s`);
  assert.ok(outOf > 20 && outOf < 120, `out: ${outOf} Mbit/s`);
  killAll();
  await server;
  await net.remove("slow");
});

test("a Pod that goes takes its link and namespace with it; destroyAll leaves nothing", async () => {
  killAll();
  await net.remove("c");
  await proxy.destroyAll();
  await net.destroyAll();
  const prefix = kernelName(instance);
  using netlink = new LinuxNetlinkHost().open();
  const left = () => netlink.links().filter((link) => link.name.startsWith(prefix));
  // The kernel removes the links with their namespaces, in its own time.
  for (let tries = 0; left().length > 0 && tries < 100; tries++) await systemClock.sleep(20);
  assert.deepEqual(left(), []);
  assert.deepEqual(
    new LinuxNft().tables("inet").filter((table) => table.startsWith(prefix)),
    [],
  );
});
