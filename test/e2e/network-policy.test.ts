/** NetworkPolicies by the real kubectl: connections between Pods that are refused and allowed. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startPods, type PodTests } from "../support/pods.ts";
import { toolsPod } from "../support/tools-pod.ts";

let pods: PodTests;
const ips = new Map<string, string>();
before(async () => {
  pods = await startPods();
  await pods.kubectl("create", "namespace", "other");
  await pods.kubectl("label", "namespace", "other", "team=blue");
  const server = (name: string, namespace = "default") => {
    const pod = toolsPod(name, { app: name }, [8080, 9090]);
    return { ...pod, metadata: { ...pod.metadata, namespace } };
  };
  await pods.apply(server("server"), server("friend"), server("stranger"), server("far", "other"));
  for (const name of ["server", "friend", "stranger"]) ips.set(name, (await pods.running(name)).status.podIP);
  await pods.kubectl("wait", "-n", "other", "--for=condition=Ready", "pod/far", "--timeout=30s");
  ips.set("far", await pods.kubectl("get", "pod", "far", "-n", "other", "-o", "jsonpath={.status.podIP}"));
});

after(() => pods?.berth.stop());

function curl(from: string, url: string, namespace = "default") {
  return pods.try("exec", "-n", namespace, from, "--", "curl", "-sS", "--max-time", "3", url);
}

async function reaches(from: string, to: string, port = 8080): Promise<boolean> {
  const namespace = from === "far" ? "other" : "default";
  const output = await curl(from, `http://${ips.get(to)}:${port}/`, namespace);
  assert.ok([0, 7].includes(output.code), `curl must succeed or be refused: ${output.stderr}`);
  return output.code === 0;
}

/** Waits until who reaches the server is just as listed: `name` or `name:port`, with `!` in front for those that are refused. */
async function expectReach(to: string, ...wanted: string[]): Promise<void> {
  const deadline = Date.now() + 10_000;
  for (;;) {
    const seen = await Promise.all(
      wanted.map(async (one) => {
        const [from = "", port] = one.replace("!", "").split(":");
        return `${(await reaches(from, to, port ? Number(port) : undefined)) ? "" : "!"}${one.replace("!", "")}`;
      }),
    );
    if (seen.join() === wanted.join()) return;
    if (Date.now() > deadline) assert.deepEqual(seen, wanted, `towards ${to}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Replaces the one policy that selects the server (or whom the spec says). */
async function policy(spec: Record<string, unknown>): Promise<void> {
  await pods.apply({
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name: "test", namespace: "default" },
    spec: { podSelector: { matchLabels: { app: "server" } }, ...spec },
  });
}

test("everybody reaches everybody without policies", () =>
  expectReach("server", "friend", "stranger", "far", "friend:9090"));

test("default deny refuses at once, also those in other namespaces; probes and other Pods go on", async () => {
  await policy({ podSelector: {}, policyTypes: ["Ingress"] });
  await expectReach("server", "!friend", "!stranger", "!far");
  await expectReach("far", "friend");
  const output = await curl("friend", `http://${ips.get("server")}:8080/`);
  assert.match(output.stderr, /Couldn't connect/, "said at once, not by a timeout");
  await new Promise((resolve) => setTimeout(resolve, 2500));
  const { status } = await pods.get("pod", "server");
  assert.equal(
    status.conditions.find(({ type }) => type === "Ready")?.status,
    "True",
    "the readiness probe gets through",
  );
});

test("podSelector and namespaceSelector", async () => {
  await policy({ ingress: [{ from: [{ podSelector: { matchLabels: { app: "friend" } } }] }] });
  await expectReach("server", "friend", "!stranger", "!far");
  await policy({ ingress: [{ from: [{ namespaceSelector: { matchLabels: { team: "blue" } } }] }] });
  await expectReach("server", "!friend", "!stranger", "far");
  await pods.kubectl("label", "namespace", "other", "team-");
  await expectReach("server", "!far");
  await pods.kubectl("label", "namespace", "other", "team=blue");
  await expectReach("server", "far");
});

test("a Pod that gets the label gets in", async () => {
  await policy({ ingress: [{ from: [{ podSelector: { matchLabels: { role: "guest" } } }] }] });
  await expectReach("server", "!stranger");
  await pods.kubectl("label", "pod", "stranger", "role=guest");
  await expectReach("server", "stranger", "!friend");
  await pods.kubectl("label", "pod", "stranger", "role-");
  await expectReach("server", "!stranger");
});

test("ipBlock with an exception", async () => {
  await policy({ ingress: [{ from: [{ ipBlock: { cidr: "10.0.0.0/8", except: [`${ips.get("stranger")}/32`] } }] }] });
  await expectReach("server", "friend", "!stranger", "far");
});

test("ports: a number, a range and a name", async () => {
  await policy({ ingress: [{ ports: [{ port: 9090 }] }] });
  await expectReach("server", "!friend", "friend:9090");
  await policy({ ingress: [{ ports: [{ port: 8000, endPort: 8100 }] }] });
  await expectReach("server", "friend", "!friend:9090");
  await policy({ ingress: [{ ports: [{ port: "web" }] }] });
  await expectReach("server", "friend", "!friend:9090");
});

test("egress: default deny, then only to chosen Pods; DNS is allowed by its usual selector", async () => {
  const stranger = { podSelector: { matchLabels: { app: "stranger" } }, policyTypes: ["Egress"] };
  await policy({ ...stranger, egress: [] });
  await expectReach("server", "!stranger", "friend");
  await expectReach("stranger", "friend");
  const lookup = async () => (await curl("stranger", "https://kubernetes.default.svc.cluster.local/")).stderr;
  assert.match(await lookup(), /timed out|[Cc]ould not resolve/, "no DNS");
  await policy({
    ...stranger,
    egress: [
      { to: [{ podSelector: { matchLabels: { app: "server" } } }], ports: [{ port: "web" }] },
      {
        to: [{ namespaceSelector: {}, podSelector: { matchLabels: { "k8s-app": "kube-dns" } } }],
        ports: [{ port: 53, protocol: "UDP" }],
      },
    ],
  });
  await expectReach("server", "stranger", "!stranger:9090");
  await expectReach("friend", "!stranger");
  assert.match(
    await lookup(),
    /Couldn't connect|Failed to connect|No route to host/,
    "the name resolves, the API server is not allowed",
  );
});

test("policies survive a crash of the daemon, and go with their objects", async () => {
  await policy({ ingress: [] });
  await expectReach("server", "!friend");
  await pods.berth.kill();
  await pods.berth.start();
  await expectReach("server", "!friend", "!far");
  await pods.kubectl("delete", "networkpolicy", "test");
  await expectReach("server", "friend", "far", "stranger:9090");
});
