/** Services and DNS by the real kubectl, curl and dig, from Pods and from the host. */
import assert from "node:assert/strict";
import { createServer } from "node:net";
import { after, before, test } from "node:test";
import { run } from "../support/daemon.ts";
import { startPods, type PodTests } from "../support/pods.ts";
import { toolsPod } from "../support/tools-pod.ts";

let pods: PodTests;
const ip: Record<string, string> = {};
/** Of this process alone, so that runs beside each other don't want one port of localhost. */
const lbPort = 21_000 + (process.pid % 5000);

interface Service {
  metadata: { name: string };
  spec: { clusterIP: string; ports: { nodePort: number }[]; healthCheckNodePort: number };
  status: {
    loadBalancer?: { ingress?: { ip: string }[] };
    conditions?: { type: string; status: string; message: string }[];
  };
}

before(async () => {
  pods = await startPods();
  await pods.apply(
    ...["a", "b", "c"].map((name) => toolsPod(name, { app: "web", name }, [8080, 9090])),
    toolsPod("client"),
    toolsPod("named", { app: "headless" }, [8080], { hostname: "named", subdomain: "headless" }),
  );
  for (const name of ["a", "b", "c", "client", "named"]) ip[name] = (await pods.running(name)).status.podIP;
});

after(() => pods?.berth.stop());

async function service(name: string, spec: Record<string, unknown> = {}): Promise<Service> {
  await pods.apply({
    apiVersion: "v1",
    kind: "Service",
    metadata: { name },
    spec: { selector: { app: "web" }, ports: [{ port: 80, targetPort: "web" }], ...spec },
  });
  return pods.get<Service>("service", name);
}

/** `host`, or the name of a Pod. */
type From = string;

/** One command, on the host or in a Pod. */
function inside(from: From, ...command: string[]) {
  return from === "host" ? run(command[0]!, command.slice(1)) : pods.try("exec", from, "--", ...command);
}

/** The names of those that answer over so many connections (one curl does them all), or what curl says. */
async function answering(from: From, authority: string, count = 40): Promise<string> {
  const url = `http://${authority}/?[1-${count}]`;
  const options = ["-sS", "--noproxy", "*", "--max-time", "5", "--no-keepalive", "-H", "connection: close"];
  const { code, stdout, stderr } = await inside(from, "curl", ...options, url);
  if (code !== 0) return code === 7 ? "refused" : `exit ${code}: ${stderr}`;
  return [...new Set([...stdout.matchAll(/"name": "(\w+)"/g)].map((match) => match[1]!))].toSorted().join();
}

/** Endpoints and rules take a moment: waits until the same Pods answer as wanted. */
async function expectAnswers(from: From, authority: string, wanted: string): Promise<void> {
  await becomes(() => answering(from, authority), wanted, `${authority} from ${from}`);
}

async function becomes(read: () => Promise<string>, wanted: string, what: string): Promise<void> {
  const deadline = Date.now() + 10_000;
  for (;;) {
    const seen = await read();
    if (seen === wanted) return;
    if (Date.now() > deadline) assert.equal(seen, wanted, what);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

test("ClusterIP: by address and by name, from a Pod, from an endpoint itself and from the host", async () => {
  const { spec } = await service("web");
  await expectAnswers("client", `${spec.clusterIP}:80`, "a,b,c");
  await expectAnswers("client", "web", "a,b,c");
  await expectAnswers("client", "web.default.svc.cluster.local", "a,b,c");
  await expectAnswers("a", "web", "a,b,c");
  await expectAnswers("host", `${spec.clusterIP}:80`, "a,b,c");
  assert.equal(await answering("client", `${spec.clusterIP}:81`), "refused");
  const unused = spec.clusterIP.replace(/\d+$/, (last) => String((Number(last) + 1) % 256));
  for (const from of ["host", "client"])
    assert.equal(await answering(from, `${unused}:80`), "refused", "nobody's address");
});

test("a Pod that becomes the only endpoint reaches itself, and a Pod sees who asks", async () => {
  await service("self", { selector: { name: "a" } });
  await expectAnswers("a", "self", "a");
  const { stdout } = await inside("client", "curl", "-sS", "http://self/");
  assert.equal((JSON.parse(stdout) as { client: string }).client, ip["client"]);
});

test("NodePort on localhost, on the node's address and from Pods", async () => {
  const { spec } = await service("node-port", { type: "NodePort" });
  const port = spec.ports[0]!.nodePort;
  const { status } = await pods.get("pod", "client");
  await expectAnswers("host", `127.0.0.1:${port}`, "a,b,c");
  await expectAnswers("host", `${status.hostIP}:${port}`, "a,b,c");
  await expectAnswers("client", `${status.hostIP}:${port}`, "a,b,c");
});

test("LoadBalancer: an address at once, answers from all Pods there and on localhost; clashes are said on the Service", async () => {
  const ports = [{ port: lbPort, targetPort: 8080 }];
  await service("balanced", { type: "LoadBalancer", ports });
  const { status } = await pods.until<Service>(
    "service",
    "balanced",
    (one) => one.status.loadBalancer?.ingress?.[0]?.ip,
  );
  const address = status.loadBalancer!.ingress![0]!.ip;
  for (const host of [address, "127.0.0.1", "localhost"]) await expectAnswers("host", `${host}:${lbPort}`, "a,b,c");
  await expectAnswers("client", `${address}:${lbPort}`, "a,b,c");

  const condition = ({ status: { conditions } }: Service) =>
    conditions?.find(({ type }) => type === "berth.dev/ReachableOnLocalhost");
  await service("second", { type: "LoadBalancer", ports });
  const second = await pods.until<Service>("service", "second", (one) => condition(one)?.status === "False");
  assert.equal(condition(second)!.message, `localhost:${lbPort} (TCP) belongs to Service default/balanced`);
  assert.match((await pods.events("second")).map(({ reason }) => reason).join(), /LocalhostPortInUse/);
  await pods.kubectl("delete", "service", "balanced");
  await pods.until<Service>("service", "second", (one) => condition(one)?.status === "True");
  await expectAnswers("host", `127.0.0.1:${lbPort}`, "a,b,c");
  await pods.kubectl("delete", "service", "second");
});

test("a program of the machine keeps its port on localhost; the Service has its own address and says so", async () => {
  const own = createServer((socket) => socket.end("mine"));
  await new Promise<void>((resolve) => own.listen(0, "127.0.0.1", resolve));
  const { port } = own.address() as { port: number };
  try {
    await service("late", { type: "LoadBalancer", ports: [{ port, targetPort: 8080 }] });
    await pods.until<Service>("service", "late", (one) =>
      one.status.conditions?.some(({ message }) => /another program/.test(message)),
    );
    const { stdout } = await run("curl", ["-sS", "--http0.9", `http://127.0.0.1:${port}/`]);
    assert.equal(stdout, "mine");
  } finally {
    own.close();
  }
  await pods.kubectl("delete", "service", "late");
});

test("ExternalIPs", async () => {
  const address = `198.51.100.${1 + (process.pid % 250)}`;
  await service("external", { externalIPs: [address] });
  await expectAnswers("host", `${address}:80`, "a,b,c");
  await expectAnswers("client", `${address}:80`, "a,b,c");
});

test("no endpoints: refused at once; endpoints that come are used; a Pod that is not ready is left out", async () => {
  await service("fickle", { selector: { role: "chosen" } });
  await expectAnswers("client", "fickle", "refused");
  await pods.kubectl("label", "pod", "b", "role=chosen");
  await expectAnswers("client", "fickle", "b");
  await pods.kubectl("label", "pod", "b", "role-");
  await expectAnswers("client", "fickle", "refused");
});

test("named target ports may differ from Pod to Pod, several ports lead to each their own", async () => {
  const ports = [
    { name: "one", port: 80, targetPort: "web" },
    { name: "two", port: 81, targetPort: "web1" },
  ];
  await service("ports", { ports });
  await expectAnswers("client", "ports:80", "a,b,c");
  await expectAnswers("client", "ports:81", "a,b,c");
});

test("endpoints without a selector", async () => {
  await service("manual", { selector: null, ports: [{ port: 80, targetPort: 9090 }] });
  await pods.apply({
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name: "manual-1", labels: { "kubernetes.io/service-name": "manual" } },
    addressType: "IPv4",
    ports: [{ name: "", port: 9090, protocol: "TCP" }],
    endpoints: [{ addresses: [ip["c"]] }],
  });
  await expectAnswers("client", "manual", "c");
});

test("session affinity keeps a client, forgets it after its timeout, and lets go of an endpoint that left", async () => {
  const clientIP = { timeoutSeconds: 2 };
  await service("sticky", { sessionAffinity: "ClientIP", sessionAffinityConfig: { clientIP } });
  await becomes(async () => String((await answering("client", "sticky")).length), "1", "one of the three");
  const first = await answering("client", "sticky");
  assert.equal(await answering("client", "sticky"), first);
  const seen = new Set<string>();
  for (let tries = 0; tries < 8 && seen.size < 2; tries++) {
    seen.add(await answering("client", "sticky", 1));
    await new Promise((resolve) => setTimeout(resolve, 2500));
  }
  assert.equal(seen.size, 2, "after the timeout another one answers");
  const current = await answering("client", "sticky");
  await pods.kubectl("label", "pod", current, "app=parked", "--overwrite");
  const rest = ["a", "b", "c"].filter((name) => name !== current);
  await becomes(
    async () => String(rest.includes(await answering("client", "sticky"))),
    "true",
    "another one took over",
  );
  await pods.kubectl("label", "pod", current, "app=web", "--overwrite");
});

test("traffic policies and the health-check node port", async () => {
  const spec = {
    type: "LoadBalancer",
    ports: [{ port: lbPort + 1, targetPort: 8080 }],
    externalTrafficPolicy: "Local",
  };
  const local = await service("local", { ...spec, internalTrafficPolicy: "Local" });
  await expectAnswers("client", `local:${lbPort + 1}`, "a,b,c");
  const check = async () => {
    const { stdout } = await run("curl", [
      "-sS",
      "-w",
      " %{http_code}",
      `http://127.0.0.1:${local.spec.healthCheckNodePort}/`,
    ]);
    return stdout;
  };
  await becomes(
    check,
    '{"service":{"namespace":"default","name":"local"},"localEndpoints":3,"serviceProxyHealthy":true} 200',
    "health check",
  );
  await pods.kubectl("patch", "service", "local", "-p", '{"spec":{"selector":{"app":"nobody"}}}');
  await becomes(async () => (await check()).slice(-3), "503", "no endpoints here");
  await pods.kubectl("delete", "service", "local");
});

const UDP_CLIENT = `
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(1)
s.connect((sys.argv[1], int(sys.argv[2])))
for n in range(60):
    try:
        s.send(b"?")
        print(s.recv(100).decode().split(" ")[0], flush=True)
    except OSError: print("lost", flush=True)
    import time; time.sleep(0.1)
`;

test("UDP: balanced, and a client that goes on sending moves to another endpoint when its own leaves", async () => {
  const { spec } = await service("udp", { ports: [{ port: 53, protocol: "UDP", targetPort: 8080 }] });
  await expectAnswers("client", "web", "a,b,c");
  const child = pods.spawn("exec", "client", "--", "/usr/bin/python3", "-u", "-c", UDP_CLIENT, spec.clusterIP, "53");
  let said = "";
  child.stdout!.on("data", (chunk) => (said += String(chunk)));
  const names = () => said.split("\n").filter((line) => /^[abc]$/.test(line));
  await becomes(async () => String(names().length >= 3), "true", "answers over UDP");
  const before = names().at(-1)!;
  await pods.kubectl("label", "pod", before, "app=parked", "--overwrite");
  await becomes(async () => String(names().at(-1) !== before), "true", "the same socket goes on elsewhere");
  child.kill();
  await pods.kubectl("label", "pod", before, "app=web", "--overwrite");
});

test("terminating endpoints serve while nothing else does", async () => {
  const drain = { terminationGracePeriodSeconds: 20 };
  await pods.apply(toolsPod("leaving", { app: "leaving" }, [8080], drain));
  await pods.running("leaving");
  await service("leaving", { selector: { app: "leaving" } });
  await expectAnswers("client", "leaving", "leaving");
  await pods.kubectl("delete", "pod", "leaving", "--wait=false");
  await pods.until<{ metadata: { deletionTimestamp?: string } }>(
    "pod",
    "leaving",
    (one) => one.metadata.deletionTimestamp,
  );
  assert.equal(await answering("client", "leaving", 5), "leaving");
  await pods.kubectl("delete", "pod", "leaving", "--grace-period=0", "--force");
  await expectAnswers("client", "leaving", "refused");
});

test("the DNS specification's names, by dig from a Pod", async () => {
  const web = await pods.get<Service>("service", "web");
  await service("headless", {
    clusterIP: "None",
    selector: { app: "headless" },
    ports: [{ name: "http", port: 80, targetPort: 8080 }],
  });
  await pods.apply({
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "alias" },
    spec: { type: "ExternalName", externalName: "web.default.svc.cluster.local" },
  });
  await service("srv", { ports: [{ name: "http", port: 80, targetPort: 8080 }] });
  const zone = "default.svc.cluster.local";
  const dig = async (...words: string[]) =>
    (await inside("client", "dig", "+short", "+time=2", "+tries=2", ...words)).stdout.trim().split("\n").join(" ");
  const reverse = (address: string) => `${address.split(".").toReversed().join(".")}.in-addr.arpa`;
  const cases: [words: string[], wanted: string][] = [
    [["TXT", "dns-version.cluster.local"], '"1.1.0"'],
    [[`web.${zone}`], web.spec.clusterIP],
    [["+search", "web"], web.spec.clusterIP],
    [[`headless.${zone}`], ip["named"]!],
    [[`named.headless.${zone}`], ip["named"]!],
    [["SRV", `_http._tcp.srv.${zone}`], `0 100 80 srv.${zone}.`],
    [["SRV", `_http._tcp.headless.${zone}`], `0 100 8080 named.headless.${zone}.`],
    [["PTR", reverse(web.spec.clusterIP)], `web.${zone}.`],
    [["PTR", reverse(ip["named"]!)], `named.headless.${zone}.`],
    [[`alias.${zone}`], `web.${zone}. ${web.spec.clusterIP}`],
    [[`${ip["a"]!.replaceAll(".", "-")}.default.pod.cluster.local`], ip["a"]!],
    [[`nothing.${zone}`], ""],
    [["+tcp", `web.${zone}`], web.spec.clusterIP],
  ];
  for (const [words, wanted] of cases) await becomes(() => dig(...words), wanted, `dig ${words.join(" ")}`);
  const missing = await inside("client", "dig", `nothing.${zone}`);
  assert.match(missing.stdout, /status: NXDOMAIN/);
  assert.match(missing.stdout, /flags:.* aa/);
});

test("kubernetes.default.svc: TLS verified by the mounted authority, with the mounted token", async () => {
  const folder = "/var/run/secrets/kubernetes.io/serviceaccount";
  const token = await pods.exec("client", "cat", `${folder}/token`);
  const ask = (...options: string[]) =>
    inside("client", "curl", "-sS", "--max-time", "5", "--cacert", `${folder}/ca.crt`, ...options);
  const version = await ask("-H", `Authorization: Bearer ${token}`, "https://kubernetes.default.svc/version");
  assert.match(version.stdout, /"gitVersion":"v1\.\d+/, version.stderr);
  const secrets = "https://kubernetes.default.svc/api/v1/namespaces/default/secrets";
  const denied = await ask("-H", `Authorization: Bearer ${token}`, secrets);
  assert.match(denied.stdout, /system:serviceaccount:default:default\\?".*cannot list resource/, denied.stderr);
});

test("Services answer while the daemon is down; after kill -9 it takes them over, and a cut-down default role is mended", async () => {
  const web = await pods.get<Service>("service", "web");
  await pods.kubectl(
    "patch",
    "clusterrole",
    "system:controller:service-controller",
    "--type=json",
    "-p",
    '[{"op":"replace","path":"/rules","value":[]}]',
  );
  await pods.berth.kill();
  assert.equal(await answering("host", `${web.spec.clusterIP}:80`), "a,b,c");
  await pods.berth.start();
  await service("after-crash", { type: "LoadBalancer", ports: [{ port: lbPort + 2, targetPort: 8080 }] });
  await pods.until<Service>("service", "after-crash", (one) => one.status.loadBalancer?.ingress?.[0]?.ip);
  await expectAnswers("host", `127.0.0.1:${lbPort + 2}`, "a,b,c");
  await expectAnswers("client", "web", "a,b,c");
});
