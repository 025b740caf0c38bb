/** A cluster by berth's own command line: without the engine, with simulated nodes, without kubectl. */
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { after, before, test } from "node:test";
import { run, startBerth, type TestBerth } from "../support/daemon.ts";

let berth: TestBerth;
/** Holds the port that the API server had the last time. */
const other = net.createServer();
let taken = 0;
before(async () => {
  await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
  taken = (other.address() as net.AddressInfo).port;
  berth = await startBerth({ start: false, env: { BERTH_KUBERNETES: "1" } });
  mkdirSync(path.join(berth.dataDir, "cluster"), { recursive: true });
  writeFileSync(path.join(berth.dataDir, "cluster", "port"), `${taken}\n`);
  const { code, stderr } = await berth.berth("up", "-d", "--yes", "--without", "engine", "--simulated-nodes", "100");
  assert.equal(code, 0, stderr);
});
after(async () => {
  other.close();
  await berth?.stop();
});

/** Runs berth's CLI; fails the test when it does. */
async function out(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await berth.berth(...args);
  assert.equal(code, 0, `berth ${args.join(" ")}: exit ${code}\n${stdout}${stderr}`);
  return stdout.trimEnd();
}

async function until(what: string, pattern: RegExp, ...args: string[]): Promise<void> {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const text = await out(...args);
    if (pattern.test(text)) return;
    if (Date.now() > deadline) assert.fail(`${what}:\n${text}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

test("the cluster is there without an engine, on another port than the one in use", async () => {
  const { services } = JSON.parse(await out("status", "--json")) as { services: { name: string }[] };
  const names = services.map(({ name }) => name);
  assert.ok(
    names.includes("simulated-nodes") && !names.includes("engine") && !names.includes("kubelet"),
    names.join(", "),
  );
  await until("nodes", /: 100 of 100 nodes ready \(100 simulated\), 0 pods$/, "status");
  const server = /server: https:\/\/127\.0\.0\.1:(\d+)/.exec(await out("kubeconfig"));
  assert.notEqual(Number(server?.[1] ?? taken), taken);
});

test("the kubeconfig is merged beside others, for nobody else to read", async () => {
  const file = path.join(berth.directory, "config");
  writeFileSync(file, "contexts:\n- name: work\n  context: {cluster: work, user: me}\n", { mode: 0o644 });
  assert.match(await out("kubeconfig", "--file", file), /is in .*config, and current$/);
  assert.match(readFileSync(file, "utf8"), /name: work[\s\S]*current-context: berth-t/);
  assert.equal(statSync(file).mode & 0o777, 0o600);
  writeFileSync(file, "{");
  const { code, stderr } = await berth.berth("kubeconfig", "--file", file);
  assert.deepEqual([code, readFileSync(file, "utf8")], [1, "{"]);
  assert.match(stderr, /is not a kubeconfig; it stays as it is/);
});

test("apply, get, describe, scale, rollout and delete without kubectl", async () => {
  const file = path.join(berth.directory, "web.yaml");
  const manifest = (image: string) => `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: main, image: "${image}"}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
`;
  writeFileSync(file, manifest("app:1"));
  assert.equal(await out("apply", "-f", file), "deployment.apps/web created\nservice/web created");
  assert.equal(await out("apply", "-f", file), "deployment.apps/web unchanged\nservice/web unchanged");
  assert.match(await out("rollout", "status", "deployment/web"), /deployment "web" successfully rolled out$/);
  assert.match(
    await out("get", "pods", "-o", "wide"),
    /^NAME +READY +STATUS .* NODE .*\nweb-\S+ +1\/1 +Running .* sim-\d+ /,
  );
  assert.match(
    await out("get", "deploy,svc", "-A"),
    /^NAMESPACE +NAME [\s\S]*deployment\.apps\/web +3\/3[\s\S]*\n\nNAMESPACE/,
  );
  assert.match(await out("get", "nodes"), /^sim-0 +Ready +simulated +/m);
  assert.equal((JSON.parse(await out("get", "deploy", "web", "--json")) as { kind: string }).kind, "Deployment");
  assert.match(await out("get", "service/web", "-o", "yaml"), /^kind: Service$/m);
  assert.match(await out("describe", "deployment", "web"), /ScalingReplicaSet[\s\S]*Scaled up replica set/);
  writeFileSync(file, manifest("app:2"));
  assert.equal(await out("apply", "-f", file), "deployment.apps/web configured\nservice/web unchanged");
  await out("rollout", "status", "deploy", "web");
  assert.match(await out("rollout", "history", "deployment/web"), /^REVISION +CHANGE-CAUSE\n1 +<none>\n2 +<none>$/m);
  assert.equal(await out("rollout", "undo", "deployment/web"), "deployment.apps/web rolled back");
  await out("rollout", "status", "deployment/web");
  assert.match(await out("get", "deploy", "web", "-o", "yaml"), /image: app:1/);
  assert.equal(await out("scale", "deployment/web", "--replicas", "5"), "deployment.apps/web scaled");
  await until("five", /^web +5\/5/m, "get", "deployments");
  assert.equal(await out("delete", "-f", file), "deployment.apps/web deleted\nservice/web deleted");
  const missing = await berth.berth("get", "pod", "nobody");
  assert.equal(missing.code, 1);
  assert.match(missing.stderr, /^berth: pods "nobody" not found\n/);
  assert.match((await berth.berth("get", "gadgets")).stderr, /the cluster has no resource type "gadgets"/);
  assert.match(await out("completion", "bash"), /rollout\) words="--namespace --to-revision --timeout"/);
});

test("a StatefulSet and a DaemonSet roll, and roll back", async () => {
  const file = path.join(berth.directory, "sets.yaml");
  const manifest = (image: string) => `apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: 2
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: main, image: "${image}"}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  updateStrategy: {rollingUpdate: {maxUnavailable: 100%}}
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {containers: [{name: main, image: "${image}"}]}
`;
  for (const image of ["app:1", "app:2"]) {
    writeFileSync(file, manifest(image));
    await out("apply", "-f", file);
    assert.match(await out("rollout", "status", "sts/db"), /statefulset rolling update complete 2 pods/);
    assert.match(await out("rollout", "status", "ds/agent"), /daemon set "agent" successfully rolled out$/);
  }
  for (const set of ["statefulset/db", "daemonset/agent"]) {
    assert.match(await out("rollout", "history", set), /^REVISION +CHANGE-CAUSE\n1 +<none>\n2 +<none>$/m);
    assert.match(await out("rollout", "undo", set), /rolled back$/);
    await out("rollout", "status", set);
    assert.match(await out("get", set, "-o", "yaml"), /image: app:1/);
    assert.match((await berth.berth("rollout", "pause", set)).stderr, /can't be paused/);
  }
  await out("delete", "-f", file);
});

test("a thousand Pods roll out on simulated nodes", async () => {
  const file = path.join(berth.directory, "many.json");
  const labels = { app: "many" };
  const spec = {
    replicas: 1000,
    selector: { matchLabels: labels },
    template: { metadata: { labels }, spec: { containers: [{ name: "main", image: "app:1" }] } },
  };
  const deployment = { apiVersion: "apps/v1", kind: "Deployment", metadata: { name: "many" }, spec };
  writeFileSync(file, JSON.stringify(deployment));
  await out("apply", "-f", file);
  await out("rollout", "status", "deployment/many", "--timeout", "60");
  assert.match(await out("get", "deployment", "many"), /^many +1000\/1000 +1000 +1000 /m);
  assert.match(await out("status"), /cluster https:.*: 100 of 100 nodes ready \(100 simulated\), 1000 pods$/m);
});

test("a daemon whose API server can't start says why and ends with exit code 1", async () => {
  const broken = await startBerth({ start: false, env: { BERTH_KUBERNETES: "1", BERTH_ENGINE: "0" } });
  try {
    mkdirSync(path.join(broken.dataDir, "cluster"), { recursive: true });
    writeFileSync(path.join(broken.dataDir, "cluster", "pki"), "not a folder");
    const daemon = path.resolve(import.meta.dirname, "../../src/daemon/main.ts");
    const { code, stderr } = await run(process.execPath, [daemon], { env: broken.env, timeoutMs: 15_000 });
    assert.deepEqual([code, /api-server did not start/.test(stderr)], [1, true], stderr);
    const up = await broken.berth("up", "-d", "--yes");
    assert.equal(up.code, 1);
    assert.match(up.stderr, /the daemon did not start: .*api-server did not start/);
  } finally {
    await broken.stop();
  }
});
