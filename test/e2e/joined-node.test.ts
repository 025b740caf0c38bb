/** A node that is another berth process, in its place's network namespace: what crosses between the two, and what happens when one of them goes. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { run, startBerth, type TestBerth } from "../support/daemon.ts";
import { patience } from "../support/patience.ts";
import { podOf, startPods, type PodTests } from "../support/pods.ts";

const SERVE =
  "echo started; while :; do cat /words/greeting >/tmp/index.html; sleep 0.2; done & exec httpd -f -p 80 -h /tmp";

let pods: PodTests;
let joined: TestBerth | undefined;
let node: string;
let netns: string;

before(async () => {
  pods = await startPods();
  const { berth } = pods;
  const file = path.join(berth.directory, "join.json");
  const added = await berth.berth("node", "add", "--join-file", file);
  assert.equal(added.code, 0, added.stderr);
  node = added.stdout.split("\n")[0]!;
  netns = /--net=(\S+)/.exec(added.stdout)![1]!;
  joined = await startBerth({ netns, env: { BERTH_JOIN: file } });
  await pods.until("node", node, isReady);
});
after(async () => {
  await joined?.stop();
  await pods.berth.stop();
});

const isReady = (one: { status?: { conditions?: { type: string; status: string }[] } }) =>
  one.status?.conditions?.some(({ type, status }) => type === "Ready" && status === "True") ?? false;

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + patience(60_000);
  while (!(await holds())) {
    assert.ok(Date.now() < deadline, `${what} did not come true`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

const curl = (address: string, ...more: string[]) => run("curl", ["-s", "--max-time", "5", ...more, address]);

test("a Pod there runs an image of here, sees its ConfigMap and its changes, and is reached by logs, exec and port-forward", async () => {
  const words = (greeting: string) => ({
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: "words" },
    data: { greeting },
  });
  const volumes = [{ name: "words", configMap: { name: "words" } }];
  const mount = { imagePullPolicy: "Always", volumeMounts: [{ name: "words", mountPath: "/words" }] };
  await pods.apply(words("hello"), podOf("far", SERVE, { nodeName: node, volumes }, mount));
  const { status } = await pods.running("far");
  assert.equal(await pods.kubectl("logs", "far"), "started\n");
  assert.equal(await pods.exec("far", "cat", "/words/greeting"), "hello");
  assert.equal((await pods.try("exec", "far", "--", "sh", "-c", "exit 7")).code, 7);
  await pods.apply(words("changed"));
  await until("the new greeting", async () => (await curl(`http://${status.podIP}`)).stdout === "changed");
  await until("figures of both", async () => {
    const [ofNodes, ofPods] = await Promise.all([pods.try("top", "node", node), pods.try("top", "pod", "far")]);
    return /\d+Mi/.test(ofNodes.stdout) && /\d+Mi/.test(ofPods.stdout);
  });
  assert.match(await pods.kubectl("get", "--raw", `/api/v1/nodes/${node}/proxy/stats/summary`), /"name":"far"/);
});

test("Services lead there and from there", async () => {
  await pods.apply(
    podOf("near", "mkdir /words; echo near >/words/greeting; " + SERVE),
    ...["far", "near"].map((name) => ({
      apiVersion: "v1",
      kind: "Service",
      metadata: { name },
      spec: { selector: { test: name }, ports: [{ port: 80 }] },
    })),
  );
  await pods.running("near");
  const ip = (name: string) => pods.kubectl("get", "service", name, "-o", "jsonpath={.spec.clusterIP}");
  const [far, near] = [await ip("far"), await ip("near")];
  await until("the service far, from the machine", async () => (await curl(`http://${far}`)).stdout === "changed");
  const asked = (from: string, address: string) => async () =>
    (
      await pods.try("exec", from, "--", "sh", "-c", `printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 ${address} 80`)
    ).stdout.includes("200 OK");
  await until("the service far, from a Pod here", asked("near", far));
  await until("the service near, from a Pod there", asked("far", near));
});

test("its port answers the API server alone", async () => {
  const internal = 'jsonpath={.status.addresses[?(@.type=="InternalIP")].address}';
  const address = await pods.kubectl("get", "node", node, "-o", internal);
  const answer = await curl(`https://${address}:10250/healthz`, "-k", "-w", "%{http_code}", "-o", "/dev/null");
  assert.equal(answer.stdout, "401");
});

test("killed, it finds its Pods again; switched off and on, it comes back", async () => {
  const containerId = () =>
    pods.kubectl("get", "pod", "far", "-o", "jsonpath={.status.containerStatuses[0].containerID}");
  const id = await containerId();
  await joined!.kill();
  await joined!.start();
  await pods.until("node", node, isReady);
  assert.equal(await containerId(), id);
  assert.equal(await pods.exec("far", "cat", "/words/greeting"), "changed");

  const { berth } = pods;
  assert.equal((await berth.berth("node", "stop", node)).code, 0);
  const off = await pods.try("logs", "far");
  assert.match(off.stderr, /has no containers to connect to/);
  assert.equal((await berth.berth("node", "start", node)).code, 0);
  await pods.until("node", node, isReady);
  await until("its logs", async () => (await pods.try("logs", "far")).code === 0);
});

test("the cluster's daemon is killed: the node reaches the next one", async () => {
  await pods.berth.kill();
  await pods.berth.start();
  await pods.until("node", node, isReady);
  assert.equal(await pods.exec("far", "cat", "/words/greeting"), "changed");
});

test("a join file that is none is refused; a node that is removed is gone", async () => {
  const file = path.join(pods.berth.directory, "no-join.json");
  writeFileSync(file, "{}");
  await assert.rejects(startBerth({ env: { BERTH_JOIN: file } }), /is no join file of this version/);
  await joined!.stop();
  joined = undefined;
  assert.equal((await pods.berth.berth("node", "remove", node)).code, 0);
  assert.match((await pods.try("get", "node", node)).stderr, /not found/);
});
