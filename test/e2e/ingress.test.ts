/** Ingresses by the real kubectl, asked by the real curl: hosts, paths, TLS, HTTP/2, WebSocket, and what is said when something is missing. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { WebSocket } from "ws";
import { run } from "../support/daemon.ts";
import { podOf, startPods, type PodTests } from "../support/pods.ts";
import { toolsPod } from "../support/tools-pod.ts";

let pods: PodTests;
let address = "";
const folder = mkdtempSync("/tmp/berth-ingress-");

/** The machine's Node with the ws package: echoes what it is told. */
const ECHO = `
const { WebSocketServer } = require("/ws");
new WebSocketServer({ port: 8080 }).on("connection", (socket, request) => {
  socket.on("message", (data) => socket.send(request.url + " " + data));
});`;

function service(name: string, port = 80): object {
  const spec = { selector: { app: name }, ports: [{ name: "http", port, targetPort: 8080 }] };
  return { apiVersion: "v1", kind: "Service", metadata: { name }, spec };
}

function ingress(name: string, spec: object): object {
  return { apiVersion: "networking.k8s.io/v1", kind: "Ingress", metadata: { name }, spec };
}

const to = (name: string, port: object = { number: 80 }) => ({ service: { name, port } });
const rule = (host: string, ...paths: [path: string, pathType: string, service: string][]) => ({
  host,
  http: { paths: paths.map(([at, pathType, name]) => ({ path: at, pathType, backend: to(name) })) },
});

before(async () => {
  pods = await startPods();
  const node = path.dirname(path.dirname(process.execPath));
  const mounts = [
    { name: "node", mountPath: "/node", readOnly: true },
    { name: "ws", mountPath: "/ws", readOnly: true },
    ...["/lib", "/lib64", "/usr"].map((mountPath) => ({ name: mountPath.slice(1), mountPath, readOnly: true })),
  ];
  const hostPath = (name: string, at: string) => ({ name, hostPath: { path: at } });
  const volumes = [
    hostPath("node", node),
    hostPath("ws", path.resolve(import.meta.dirname, "../../node_modules/ws")),
    ...["lib", "lib64", "usr"].map((name) => hostPath(name, `/${name}`)),
  ];
  const socketPod = podOf(
    "sockets",
    "",
    { volumes },
    { command: ["/node/bin/node", "-e", ECHO], volumeMounts: mounts },
  );
  const labelled = socketPod as { metadata: { labels: object } };
  labelled.metadata.labels = { app: "sockets" };
  await pods.apply(
    toolsPod("shop", { app: "shop" }, [8080]),
    toolsPod("cart", { app: "cart" }, [8080]),
    labelled,
    ...["shop", "cart", "sockets", "empty"].map((name) => service(name)),
    ingress("shop", {
      rules: [
        rule("shop.example", ["/", "Prefix", "shop"], ["/cart", "Prefix", "cart"], ["/cart/exact", "Exact", "shop"]),
        rule("*.wild.example", ["/", "ImplementationSpecific", "cart"]),
        rule("ws.example", ["/", "Prefix", "sockets"]),
        rule("broken.example", ["/", "Prefix", "empty"], ["/nowhere", "Prefix", "not-there"]),
      ],
    }),
  );
  type Ingress = { spec: { ingressClassName: string }; status: { loadBalancer?: { ingress?: { ip: string }[] } } };
  const made = await pods.until<Ingress>("ingress", "shop", (one) => one.status.loadBalancer?.ingress?.[0]?.ip);
  assert.equal(made.spec.ingressClassName, "berth", "the default class");
  address = made.status.loadBalancer!.ingress![0]!.ip;
  for (const name of ["shop", "cart", "sockets"]) await pods.running(name);
});

after(async () => {
  await pods?.berth.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** curl for a host name that leads to the Ingress' address. */
async function ask(url: string, ...options: string[]) {
  const { hostname, port, protocol } = new URL(url);
  const number = port || (protocol === "https:" ? "443" : "80");
  const resolve = ["--resolve", `${hostname}:${number}:${address}`, "--noproxy", "*"];
  const output = await run("curl", [
    "-sS",
    "--max-time",
    "30",
    "-w",
    "\n%{http_code} %{http_version}",
    ...resolve,
    ...options,
    url,
  ]);
  const [status = "", version = ""] = output.stdout.split("\n").at(-1)!.split(" ");
  const body = output.stdout.split("\n").slice(0, -1).join("\n");
  return { ...output, status: Number(status), version, body };
}

type Seen = { name: string; path: string; headers: Record<string, string> };

/** Who answered what; waits while the endpoints are still on their way. */
async function answered(url: string, ...options: string[]): Promise<Seen> {
  const deadline = Date.now() + 10_000;
  for (;;) {
    const found = await ask(url, ...options);
    if (found.status === 200) return JSON.parse(found.body) as Seen;
    if (Date.now() > deadline) assert.fail(`${url}: ${found.status} ${found.body}${found.stderr}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

test("hosts and paths lead to their Services; the backend hears who asked for what", async () => {
  const shop = await answered("http://shop.example/x?y=1");
  assert.deepEqual([shop.name, shop.path, shop.headers["host"]], ["shop", "/x?y=1", "shop.example"]);
  assert.equal(shop.headers["x-forwarded-proto"], "http");
  assert.match(shop.headers["x-forwarded-for"]!, /^\d+\.\d+\.\d+\.\d+$/);
  assert.equal((await answered("http://shop.example/cart/7")).name, "cart");
  assert.equal((await answered("http://shop.example/cart/exact")).name, "shop");
  assert.equal((await answered("http://shop.example/cartoon")).name, "shop");
  assert.equal((await answered("http://a.wild.example/")).name, "cart");
});

test("localhost leads there too, or the Ingress says that somebody else has the port", async () => {
  const said = (await pods.events("shop")).map(({ message }) => message).join();
  if (said.includes("localhost:80 ")) return;
  const { stdout } = await run("curl", ["-sS", "-H", "host: shop.example", "http://127.0.0.1/"]);
  assert.equal((JSON.parse(stdout) as Seen).name, "shop");
});

test("no rule is 404, no endpoints and no Service are 503, each with its reason", async () => {
  const reason = async (url: string) => {
    const { status, body } = await ask(url);
    return `${status} ${body}`;
  };
  assert.match(await reason("http://unknown.example/x"), /^404 no Ingress has a rule for unknown\.example\/x/);
  assert.match(await reason("http://broken.example/"), /^503 Service default\/empty has no ready endpoints/);
  assert.match(await reason("http://broken.example/nowhere"), /^503 Service default\/not-there does not exist/);
});

test("a large body goes through in both directions, over HTTP/1.1 and HTTP/2 without TLS", async () => {
  const size = 8 * 1024 * 1024;
  const input = path.join(folder, "body");
  writeFileSync(input, Buffer.alloc(size));
  for (const options of [[], ["--http2-prior-knowledge"]]) {
    const out = path.join(folder, "out");
    const found = await ask("http://shop.example/", ...options, "--data-binary", `@${input}`, "-o", out);
    assert.equal(found.status, 200, found.stderr);
    assert.equal(found.version, options.length > 0 ? "2" : "1.1");
    assert.equal(readFileSync(out).length, size);
  }
});

test("WebSocket", async () => {
  await answeredByKubectl();
  const socket = new WebSocket(`ws://${address}/path`, { headers: { host: "ws.example" } });
  const said = await new Promise((resolve, reject) => {
    socket.on("open", () => socket.send("hello"));
    socket.on("message", (data: Buffer) => resolve(data.toString()));
    socket.on("error", reject);
  });
  socket.close();
  assert.equal(said, "/path hello");
});

/** The echo server has no probe: its endpoint is there once it runs, it listens a moment later. */
async function answeredByKubectl(): Promise<void> {
  for (let tries = 0; tries < 100; tries++) {
    if ((await ask("http://ws.example/")).status === 426) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.fail("the WebSocket server does not answer");
}

async function certificate(commonName: string): Promise<void> {
  const [key, cert] = ["key", "crt"].map((ending) => path.join(folder, `tls.${ending}`)) as [string, string];
  const subject = ["-subj", `/CN=${commonName}`, "-addext", "subjectAltName=DNS:shop.example"];
  const ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const made = await run("openssl", ["req", "-x509", ...ec, "-keyout", key, "-out", cert, ...subject]);
  assert.equal(made.code, 0, made.stderr);
  const yaml = await pods.kubectl(
    "create",
    "secret",
    "tls",
    "cert",
    `--cert=${cert}`,
    `--key=${key}`,
    "--dry-run=client",
    "-o",
    "json",
  );
  await pods.apply(JSON.parse(yaml) as object);
}

test("TLS by server name, HTTP/2 by ALPN, and a renewed certificate without a restart", async () => {
  await certificate("first");
  await pods.apply(
    ingress("secure", {
      tls: [{ hosts: ["shop.example"], secretName: "cert" }],
      rules: [rule("shop.example", ["/secure", "Prefix", "cart"])],
    }),
  );
  const subject = async () => {
    const { stderr } = await ask("https://shop.example/", "-kv");
    return /subject: CN=(\w+)/.exec(stderr)?.[1];
  };
  const becomes = async (wanted: string) => {
    for (let tries = 0; tries < 50 && (await subject()) !== wanted; tries++)
      await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal(await subject(), wanted);
  };
  await becomes("first");
  const seen = await answered("https://shop.example/secure", "--cacert", path.join(folder, "tls.crt"));
  assert.deepEqual([seen.name, seen.headers["x-forwarded-proto"]], ["cart", "https"]);
  assert.equal((await ask("https://shop.example/", "-k")).version, "2");
  assert.equal((await ask("https://shop.example/", "-k", "--http1.1")).version, "1.1");
  assert.equal((await ask("https://other.example/", "-k")).code, 35, "no certificate: the handshake is refused");
  await certificate("second");
  await becomes("second");
});

interface Gateway {
  status?: {
    addresses?: { value: string }[];
    conditions?: { reason: string }[];
    listeners?: { name: string; attachedRoutes: number }[];
  };
}
interface HttpRoute {
  status?: { parents?: { conditions: { type: string; status: string; reason: string }[] }[] };
}

test("the Gateway API: listeners, host names, matches, weights, filters, TLS, and grants between namespaces", async () => {
  const group = "gateway.networking.k8s.io";
  const defined = async () => (await pods.try("get", `gatewayclasses.${group}`, "berth")).code === 0;
  for (let tries = 0; tries < 100 && !(await defined()); tries++)
    await new Promise((resolve) => setTimeout(resolve, 100));
  const backend = (name: string, more: object = {}) => ({ name, port: 80, ...more });
  const header = (name: string, value: string) => ({
    type: "RequestHeaderModifier",
    requestHeaderModifier: { set: [{ name, value }] },
  });
  const route = (name: string, hostname: string, rules: object[], namespace = "default") => ({
    apiVersion: `${group}/v1`,
    kind: "HTTPRoute",
    metadata: { name, namespace },
    spec: { parentRefs: [{ name: "main", namespace: "default" }], hostnames: [hostname], rules },
  });
  const path = (value: string, type = "PathPrefix") => [{ path: { type, value } }];
  await pods.apply(
    { apiVersion: "v1", kind: "Namespace", metadata: { name: "team" } },
    {
      apiVersion: `${group}/v1`,
      kind: "Gateway",
      metadata: { name: "main" },
      spec: {
        gatewayClassName: "berth",
        listeners: [
          { name: "http", port: 80, protocol: "HTTP", allowedRoutes: { namespaces: { from: "All" } } },
          {
            name: "https",
            port: 443,
            protocol: "HTTPS",
            hostname: "shop.example",
            tls: { certificateRefs: [{ name: "cert" }] },
          },
        ],
      },
    },
    route("shop", "shop.example", [
      { matches: path("/"), backendRefs: [backend("shop")] },
      {
        matches: [{ ...path("/")[0], method: "GET", headers: [{ name: "x-cart", value: "yes" }] }],
        backendRefs: [backend("cart")],
      },
      { matches: path("/both"), backendRefs: [backend("shop"), backend("cart")] },
      {
        matches: path("/old"),
        filters: [{ type: "RequestRedirect", requestRedirect: { scheme: "https", statusCode: 301 } }],
      },
      {
        matches: path("/app"),
        filters: [
          header("x-added", "1"),
          { type: "URLRewrite", urlRewrite: { path: { type: "ReplacePrefixMatch", replacePrefixMatch: "/inner" } } },
        ],
        backendRefs: [backend("shop")],
      },
    ]),
    route("far", "far.example", [{ backendRefs: [backend("shop", { namespace: "default" })] }], "team"),
    {
      apiVersion: `${group}/v1`,
      kind: "GRPCRoute",
      metadata: { name: "calls" },
      spec: {
        parentRefs: [{ name: "main" }],
        hostnames: ["grpc.example"],
        rules: [{ matches: [{ method: { service: "shop.Orders" } }], backendRefs: [backend("shop")] }],
      },
    },
  );
  const gateway = await pods.until<Gateway>("gateway", "main", ({ status }) =>
    status?.listeners?.some(({ name, attachedRoutes }) => name === "http" && attachedRoutes === 3),
  );
  const calls = await pods.until<HttpRoute>("grpcroute", "calls", ({ status }) => status?.parents?.[0]);
  assert.deepEqual(
    calls.status!.parents![0]!.conditions.map(({ type, status }) => `${type} ${status}`),
    ["Accepted True", "ResolvedRefs True"],
  );
  const ingressAddress = address;
  address = gateway.status!.addresses![0]!.value;
  try {
    assert.equal((await answered("http://shop.example/")).name, "shop");
    assert.equal((await answered("http://shop.example/", "-H", "x-cart: yes")).name, "cart");
    assert.equal((await ask("http://unknown.example/")).status, 404);
    const both = await Promise.all(Array.from({ length: 24 }, () => answered("http://shop.example/both")));
    assert.deepEqual(new Set(both.map(({ name }) => name)), new Set(["shop", "cart"]));
    const old = await ask("http://shop.example/old?x=1", "-i");
    assert.match(old.body, /301 [^]*location: https:\/\/shop\.example\/old\?x=1/i);
    const seen = await answered("http://shop.example/app/deep?q=2");
    assert.deepEqual([seen.path, seen.headers["x-added"]], ["/inner/deep?q=2", "1"]);
    const secure = await answered("https://shop.example/", "-k");
    assert.deepEqual([secure.name, secure.headers["x-forwarded-proto"]], ["shop", "https"]);
    const refs = async () => {
      const yaml = await pods.kubectl("get", "httproute", "far", "-n", "team", "-o", "json");
      const { status } = JSON.parse(yaml) as HttpRoute;
      return status?.parents?.[0]?.conditions.find(({ type }) => type === "ResolvedRefs")?.reason;
    };
    assert.equal((await ask("http://far.example/")).status, 500, "nobody has granted it");
    assert.equal(await refs(), "RefNotPermitted");
    await pods.apply({
      apiVersion: `${group}/v1beta1`,
      kind: "ReferenceGrant",
      metadata: { name: "team" },
      spec: { from: [{ group, kind: "HTTPRoute", namespace: "team" }], to: [{ group: "", kind: "Service" }] },
    });
    assert.equal((await answered("http://far.example/")).name, "shop");
    await pods.kubectl(
      "patch",
      "gateway",
      "main",
      "--type=merge",
      "-p",
      '{"spec":{"addresses":[{"value":"192.0.2.7"}]}}',
    );
    const refused = await pods.until<Gateway>("gateway", "main", (one) => one.status?.addresses?.length === 0);
    assert.ok(refused.status!.conditions!.some(({ reason }) => reason === "AddressNotUsable"));
    await pods.kubectl("delete", "gateway", "main");
    // Asking would not tell: an address that is not here any more leads to whoever is beyond the machine.
    const isHere = async () => (await run("ip", ["-4", "addr"])).stdout.includes(` ${address}/`);
    for (let tries = 0; tries < 50 && (await isHere()); tries++)
      await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal(await isHere(), false, "its address goes with it");
  } finally {
    address = ingressAddress;
  }
});

test("an Ingress may send its clients to https", async () => {
  const redirecting = ingress("redirecting", { rules: [rule("go.example", ["/", "Prefix", "shop"])] });
  const metadata = { name: "redirecting", annotations: { "berth.dev/ssl-redirect": "true" } };
  await pods.apply({ ...redirecting, metadata });
  for (let tries = 0; tries < 50 && (await ask("http://go.example/")).status === 404; tries++)
    await new Promise((resolve) => setTimeout(resolve, 100));
  const { body, status } = await ask("http://go.example/x?y=1", "-i");
  assert.equal(status, 308);
  assert.match(body, /location: https:\/\/go\.example\/x\?y=1/i);
});

test("a default backend takes what no rule wants; when the last Ingress goes, nothing listens", async () => {
  await pods.apply(ingress("rest", { defaultBackend: to("shop", { name: "http" }) }));
  assert.equal((await answered("http://unknown.example/x")).name, "shop");
  await pods.kubectl("delete", "ingress", "--all");
  for (let tries = 0; tries < 50; tries++) {
    if ((await ask("http://shop.example/")).code === 7) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.fail("somebody still listens on the Ingress address");
});
