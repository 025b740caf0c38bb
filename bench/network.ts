/**
 * The cluster's network on this machine's kernel: `node bench/network.ts [services|dns]`, as root (packages iperf3, iproute2). Pods are network namespaces of the Pod network;
 * the service proxy and the DNS server are the cluster's own, fed with plain objects. What is compared takes turns, since the machine is shared.
 */
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import path from "node:path";
import type { k8s } from "../src/api/index.ts";
import { silentLogger, systemClock, systemRandom } from "../src/base/index.ts";
import { ClusterDns, type DnsSource } from "../src/node/dns/index.ts";
import { PodNet } from "../src/node/podnet/index.ts";
import { ServiceProxy, type ServiceSource, type SliceSource } from "../src/node/proxy/index.ts";
import { killAll, runIn } from "../test/support/netns.ts";

const ROUNDS = 5;
const IPERF_SECONDS = 2;
const CONNECTS = 3000;
const CHANGES = 50;
const DNS_SECONDS = 1;
const FEW = 10;
const MANY = 10_000;
const VIP = "10.98.0.1";
const PORT = 5201;

const root = mkdtempSync("/tmp/berth-bench-network-");
const clocks = { clock: systemClock, random: systemRandom, log: silentLogger };
const ctx = { instance: `bench-${process.pid}`, dataDir: root, runtimeDir: path.join(root, "run"), ...clocks };

interface Handler {
  updated?(object: unknown, old: unknown): void;
}

/** Services and slices as informers would hold them. */
class Objects {
  readonly services = new Map<string, k8s.Service>();
  readonly slices = new Map<string, k8s.EndpointSlice[]>();
  readonly #handlers: Handler[] = [];
  readonly serviceSource = {
    get: (key: string) => this.services.get(key),
    list: () => [...this.services.values()],
    byIndex: () => [],
    inNamespace: () => [],
    addIndex: () => {},
    onChange: (handler: Handler) => this.#handlers.push(handler),
  };
  readonly sliceSource = {
    ...this.serviceSource,
    byIndex: (_: string, key: string) => this.slices.get(key) ?? [],
    onChange: () => 0,
  };

  put(name: string, clusterIP: string, ports: k8s.ServicePort[], endpoints: readonly string[], target: number): void {
    const metadata = { name, namespace: "default" };
    const service = { metadata, spec: { clusterIP, clusterIPs: [clusterIP], ...portsOf(ports) } } as k8s.Service;
    const slice = {
      metadata,
      addressType: "IPv4",
      ports: [{ name: "", port: target, protocol: "TCP" }],
      endpoints: endpoints.map((address) => ({ addresses: [address], conditions: { ready: true } })),
    } as k8s.EndpointSlice;
    this.services.set(`default/${name}`, service);
    this.slices.set(`default/${name}`, [slice]);
    for (const handler of this.#handlers) handler.updated?.(service, service);
  }
}

function portsOf(ports: k8s.ServicePort[]): Partial<k8s.ServiceSpec> {
  const type = ports.some((port) => port.nodePort) ? "NodePort" : "ClusterIP";
  return { type, ports };
}

const median = (values: number[]) => values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)]!;
const fixed = (value: number, digits = 2) => value.toFixed(digits);

/** Gbit/s of one TCP connection. */
async function throughput(from: string, host: string, port = PORT): Promise<number> {
  const output = await runIn(from, ["iperf3", "-c", host, "-p", String(port), "-t", String(IPERF_SECONDS), "-J"]);
  return (
    (JSON.parse(output) as { end: { sum_received: { bits_per_second: number } } }).end.sum_received.bits_per_second /
    1e9
  );
}

/** The ratio of b to a, round by round, so that a busy neighbour meets both. */
async function ratio(measureA: () => Promise<number>, measureB: () => Promise<number>) {
  const pairs: [number, number][] = [];
  for (let round = 0; round < ROUNDS; round++) pairs.push([await measureA(), await measureB()]);
  return {
    a: median(pairs.map(([a]) => a)),
    b: median(pairs.map(([, b]) => b)),
    ratio: median(pairs.map(([a, b]) => b / a)),
  };
}

const CONNECT = `
import socket, struct, sys, time
host, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
took = []
# Closed with a reset: on a fast machine ports in TIME_WAIT would run out.
for _ in range(count):
    s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)); t = time.perf_counter(); s.connect((host, port)); took.append(time.perf_counter() - t); s.close()
took.sort(); print(took[len(took) // 2] * 1e6)
`;

/** Median microseconds of a TCP handshake: its first packet is the one that is looked up. */
async function handshake(from: string, host: string, port: number): Promise<number> {
  return Number(await runIn(from, ["python3", "-c", CONNECT, host, String(port), String(CONNECTS)]));
}

const ACCEPT = `
import socket
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("0.0.0.0", 8080)); s.listen(1024); print("ready", flush=True)
while True:
    try: s.accept()[0].close()
    except ConnectionError: pass
`;

/** A client that keeps 64 questions on their way; prints answers a second. */
const ASK = `
import socket, sys, time
query = bytes.fromhex(sys.argv[2]); s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(("127.0.0.1", int(sys.argv[1]))); s.settimeout(1)
count = 0; end = time.time() + float(sys.argv[3])
for _ in range(64): s.send(query)
while time.time() < end:
    try: s.recv(512); count += 1
    except OSError: pass
    s.send(query)
print(count / float(sys.argv[3]))
`;

function line(measure: string, figure: string, goal: string): void {
  console.log(`| ${measure} | ${figure} | ${goal} |`);
}

async function serve(netnsPath: string, ...argv: string[]): Promise<void> {
  const child = spawn("nsenter", [`--net=${netnsPath}`, ...argv], { stdio: ["ignore", "pipe", "ignore"] });
  process.once("exit", () => child.kill("SIGKILL"));
  await new Promise((resolve) => child.stdout.once("data", resolve));
}

async function measureServices(): Promise<void> {
  const net = new PodNet(ctx);
  const objects = new Objects();
  const proxy = new ServiceProxy(ctx, {
    nodeName: "n1",
    loadBalancerOnLocalhost: false,
    services: objects.serviceSource as unknown as ServiceSource,
    slices: objects.sliceSource as unknown as SliceSource,
  });
  try {
    await net.setPodCidr("10.199.7.0/24");
    await proxy.start();
    const [a, b] = await Promise.all(["a", "b"].map((id) => net.add({ id })));
    const [from, to, ip] = [a!.netnsPath, b!.netnsPath, b!.ips[0]!];
    await serve(to, "stdbuf", "-oL", "iperf3", "-s");
    await serve(to, "python3", "-c", ACCEPT);
    objects.put("iperf", VIP, [{ port: PORT, protocol: "TCP", nodePort: 31_901 }], [ip], PORT);
    objects.put("accept", "10.98.0.2", [{ port: 80, protocol: "TCP" }], [ip], 8080);
    await proxy.sync();

    const service = await ratio(
      () => throughput(from, ip),
      () => throughput(from, VIP),
    );
    line(
      "ClusterIP throughput ÷ Pod direct",
      `${fixed(service.b)} ÷ ${fixed(service.a)} Gbit/s = ${fixed(service.ratio)}`,
      "≥ 0.95",
    );
    const local = await ratio(
      () => throughput("", ip),
      () => throughput("", "127.0.0.1", 31_901),
    );
    line(
      "port on localhost ÷ Pod direct, from the host",
      `${fixed(local.b)} ÷ ${fixed(local.a)} Gbit/s = ${fixed(local.ratio)}`,
      "",
    );

    const fill = (count: number, first: number) => {
      for (let at = first; at < count; at++) {
        const address = `10.98.${1 + Math.floor(at / 250)}.${1 + (at % 250)}`;
        objects.put(`s${at}`, address, [{ port: 80, protocol: "TCP" }], [ip, "10.199.7.200"], 8080);
      }
    };
    fill(FEW, 0);
    await proxy.sync();
    const few = [];
    for (let round = 0; round < ROUNDS; round++) few.push(await handshake(from, "10.98.0.2", 80));
    fill(MANY, FEW);
    const began = performance.now();
    await proxy.sync();
    line(`programming ${MANY} Services with 2 endpoints each`, `${fixed(performance.now() - began, 0)} ms`, "");
    const many = [];
    for (let round = 0; round < ROUNDS; round++) many.push(await handshake(from, "10.98.0.2", 80));
    line(
      `first packet: handshake at ${MANY} Services ÷ at ${FEW}`,
      `${fixed(median(many), 1)} ÷ ${fixed(median(few), 1)} µs = ${fixed(median(many) / median(few))}`,
      "≤ 1.2",
    );
    const changes: number[] = [];
    for (let change = 0; change < CHANGES; change++) {
      objects.put("s7", "10.98.1.8", [{ port: 80, protocol: "TCP" }], [ip, `10.199.7.${20 + change}`], 8080);
      const start = performance.now();
      await proxy.sync();
      changes.push(performance.now() - start);
    }
    line(
      `one endpoint change at ${MANY} Services`,
      `median ${fixed(median(changes))}, worst ${fixed(Math.max(...changes))} ms`,
      "≤ 20 ms",
    );
  } finally {
    killAll();
    await proxy.destroyAll();
    await net.destroyAll();
  }
}

async function measureDns(): Promise<void> {
  const objects = new Objects();
  objects.put("web", VIP, [{ port: 80, protocol: "TCP" }], [], 80);
  const dns = new ClusterDns(ctx, {
    domain: "cluster.local",
    services: objects.serviceSource as unknown as DnsSource<k8s.Service>,
    slices: objects.sliceSource as unknown as DnsSource<k8s.EndpointSlice>,
    upstream: () => [],
  });
  const port = await dns.listen("127.0.0.1", 0);
  try {
    const labels = "web.default.svc.cluster.local".split(".").map((label) => String.fromCharCode(label.length) + label);
    const query = Buffer.from(`\0\x01\x01\0\0\x01\0\0\0\0\0\0${labels.join("")}\0\0\x01\0\x01`, "latin1").toString(
      "hex",
    );
    const ask = () => runIn("", ["python3", "-c", ASK, String(port), query, String(DNS_SECONDS)]);
    const before = process.cpuUsage();
    const rates = [];
    for (let round = 0; round < ROUNDS; round++) rates.push(Number(await ask()));
    const used = process.cpuUsage(before);
    const answers = rates.reduce((sum, rate) => sum + rate * DNS_SECONDS, 0);
    const microseconds = (used.user + used.system) / answers;
    line(
      "DNS answers/s from cache, one client",
      `${fixed(median(rates), 0)} (${fixed(microseconds, 1)} µs of the server's processor each)`,
      "≥ 20,000",
    );
  } finally {
    await dns.close();
  }
}

const part = process.argv[2];
if (spawnSync("iperf3", ["--version"]).error) throw new Error("iperf3 is not installed: apt-get install iperf3");
console.log("| measure | figure | goal |\n|---|---|---|");
try {
  if (part !== "dns") await measureServices();
  if (part !== "services") await measureDns();
} finally {
  killAll();
  rmSync(root, { recursive: true, force: true });
}
process.exit(0);
