import assert from "node:assert/strict";
import { test } from "node:test";
import type { k8s } from "../api/index.ts";
import { FakeClock, Metrics, seededRandom, silentLogger } from "../base/index.ts";
import { InformerFactory, KubeClient, resources } from "../client/index.ts";
import { FakeApi, testUser } from "../client/testing/fake.ts";
import { Scheduler, type Profile } from "./index.ts";

async function world(profiles?: Profile[]) {
  const clock = new FakeClock();
  const api = new FakeApi({ clock });
  const client = new KubeClient(api.handler, { user: testUser });
  const context = { client, clock, random: seededRandom(5), log: silentLogger };
  const informers = new InformerFactory(context);
  const stop = new AbortController();
  const metrics = new Metrics();
  const scheduler = new Scheduler({ ...context, informers, profiles, metrics });
  const done = scheduler.run(stop.signal);
  const rest = (ms = 50) => clock.advance(ms);
  await rest();
  const node = (name: string, extra: Partial<k8s.NodeSpec> = {}, labels: Record<string, string> = {}, cpu = "4") => {
    const allocatable = { cpu, memory: "8Gi", pods: "110" };
    const metadata = { name, labels: { "kubernetes.io/hostname": name, ...labels } };
    return client.of(resources.nodes).create({ metadata, spec: extra, status: { allocatable, capacity: allocatable } });
  };
  const pod = (name: string, spec: Partial<k8s.PodSpec> = {}, labels: Record<string, string> = {}, cpu = "1") => {
    const requests: Record<string, string> = cpu ? { cpu } : {};
    const containers = [{ name: "main", image: "a", resources: { requests } }];
    return client
      .of(resources.pods)
      .create({ metadata: { name, namespace: "default", labels }, spec: { containers, ...spec } });
  };
  const get = (name: string) => client.of(resources.pods).get({ name, namespace: "default" });
  const nodeOf = async (name: string) => (await get(name)).spec?.nodeName;
  const why = async (name: string) =>
    (await get(name)).status?.conditions?.find(({ type }) => type === "PodScheduled")?.message;
  const close = async () => {
    stop.abort();
    await rest();
    await done;
  };
  return { ...context, api, metrics, scheduler, rest, node, pod, get, nodeOf, why, close };
}
const spread = (key: string, app: string): Partial<k8s.PodSpec> => ({
  topologySpreadConstraints: [
    { topologyKey: key, maxSkew: 1, whenUnsatisfiable: "DoNotSchedule", labelSelector: { matchLabels: { app } } },
  ],
});
const affinityTo = (
  kind: "podAffinity" | "podAntiAffinity",
  app: string,
  topologyKey = "kubernetes.io/hostname",
): Partial<k8s.PodSpec> => ({
  affinity: {
    [kind]: {
      requiredDuringSchedulingIgnoredDuringExecution: [{ topologyKey, labelSelector: { matchLabels: { app } } }],
    },
  },
});

test("says why nothing fits, in upstream's words, and tries again when something helps", async () => {
  const w = await world();
  await w.pod("lonely");
  await w.rest();
  assert.equal(await w.why("lonely"), "no nodes available to schedule pods");
  await w.node("small", {}, {}, "500m");
  await w.node("a", { taints: [{ key: "dedicated", value: "db", effect: "NoSchedule" }] });
  await w.node("b", { taints: [{ key: "dedicated", value: "db", effect: "NoSchedule" }] });
  await w.pod("p");
  await w.rest();
  const message =
    "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint {dedicated: db}. " +
    "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.";
  assert.equal(await w.why("p"), message);
  const { items } = await w.client.of(resources.events).list();
  assert.ok(
    items.some(
      (event) =>
        event.reason === "FailedScheduling" &&
        event.note?.startsWith(`${message} (berth: `) &&
        event.reportingController === "default-scheduler",
    ),
  );
  await w.node("c");
  await w.rest(15_000);
  assert.equal(await w.nodeOf("p"), "c");
  assert.equal(await w.nodeOf("lonely"), "c");
  const text = w.metrics.text();
  assert.match(text, /^scheduler_schedule_attempts_total\{profile="default-scheduler",result="scheduled"\} 2$/m);
  assert.match(
    text,
    /^scheduler_schedule_attempts_total\{profile="default-scheduler",result="unschedulable"\} [2-9]$/m,
  );
  assert.match(text, /^scheduler_pending_pods\{queue="unschedulable"\} 0$/m);
  await w.close();
});

test("fills nodes, never beyond what they have, and prefers the emptier", async () => {
  const w = await world();
  await w.node("a");
  await w.node("b");
  for (let index = 0; index < 9; index++) await w.pod(`p${index}`);
  await w.rest();
  const nodes = await Promise.all(Array.from({ length: 9 }, (_, index) => w.nodeOf(`p${index}`)));
  assert.equal(nodes.filter((name) => name === "a").length, 4);
  assert.equal(nodes.filter((name) => name === "b").length, 4);
  assert.equal(nodes[8], undefined);
  assert.equal(
    await w.why("p8"),
    "0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod.",
  );
  await w.client.of(resources.pods).delete({ name: "p0", namespace: "default" }, { gracePeriodSeconds: 0 });
  await w.rest(5000);
  assert.ok(await w.nodeOf("p8"));
  await w.close();
});

test("node selection: selectors, affinity, cordons, ports", async () => {
  const w = await world();
  await w.node("a", {}, { disk: "ssd" });
  await w.node("b", { unschedulable: true }, { disk: "ssd" });
  await w.node("c", {}, { disk: "hdd" });
  await w.pod("ssd", { nodeSelector: { disk: "ssd" } });
  const terms = [{ matchExpressions: [{ key: "disk", operator: "NotIn", values: ["ssd"] }] }];
  await w.pod("not-ssd", {
    affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: terms } } },
  });
  const ports = { containers: [{ name: "m", image: "a", ports: [{ containerPort: 80, hostPort: 80 }] }] };
  await w.pod("port-1", ports);
  await w.rest();
  await w.pod("port-2", ports);
  await w.pod("port-3", ports);
  await w.rest();
  assert.equal(await w.nodeOf("ssd"), "a");
  assert.equal(await w.nodeOf("not-ssd"), "c");
  assert.deepEqual([`${await w.nodeOf("port-1")}`, `${await w.nodeOf("port-2")}`].sort(), ["a", "c"]);
  assert.match(
    (await w.why("port-3"))!,
    /^0\/3 nodes are available: 1 node\(s\) were unschedulable, 2 node\(s\) didn't have free ports for the requested pod ports\./,
  );
  await w.close();
});

test("spread and affinity between pods", async () => {
  const w = await world();
  for (const [name, zone] of [
    ["a", "x"],
    ["b", "x"],
    ["c", "y"],
  ] as const)
    await w.node(name, {}, { zone });
  for (const name of ["s1", "s2", "s3", "s4"]) {
    await w.pod(name, spread("zone", "s"), { app: "s" }, "100m");
    await w.rest();
  }
  const zones = await Promise.all(
    ["s1", "s2", "s3", "s4"].map(async (name) => ((await w.nodeOf(name)) === "c" ? "y" : "x")),
  );
  assert.deepEqual(zones.sort(), ["x", "x", "y", "y"]);

  for (const name of ["n1", "n2", "n3", "n4"])
    await w.pod(name, affinityTo("podAntiAffinity", "n"), { app: "n" }, "100m");
  await w.rest();
  const apart = await Promise.all(["n1", "n2", "n3"].map(async (name) => `${await w.nodeOf(name)}`));
  assert.deepEqual(apart.sort(), ["a", "b", "c"]);
  assert.match((await w.why("n4"))!, /3 node\(s\) didn't match pod anti-affinity rules/);

  await w.pod("first", affinityTo("podAffinity", "t"), { app: "t" }, "100m");
  await w.rest();
  await w.pod("second", affinityTo("podAffinity", "t"), { app: "t" }, "100m");
  await w.pod("stranger", affinityTo("podAffinity", "nobody"), { app: "u" }, "100m");
  await w.rest();
  assert.equal(await w.nodeOf("second"), await w.nodeOf("first"));
  assert.match((await w.why("stranger"))!, /3 node\(s\) didn't match pod affinity rules/);
  await w.close();
});

test("preempts lower priorities, sparing those whose budget would be broken", async () => {
  const w = await world();
  await w.node("a", {}, {}, "2");
  await w.node("b", {}, {}, "2");
  await w.pod("guarded", { priority: 1, nodeSelector: { "kubernetes.io/hostname": "a" } }, { app: "guarded" }, "2");
  await w.pod("free", { priority: 1, nodeSelector: { "kubernetes.io/hostname": "b" } }, {}, "2");
  await w.client.of(resources.podDisruptionBudgets).create({
    metadata: { name: "pdb", namespace: "default" },
    spec: { minAvailable: 1, selector: { matchLabels: { app: "guarded" } } },
    status: { disruptionsAllowed: 0, currentHealthy: 1, desiredHealthy: 1, expectedPods: 1 },
  });
  await w.rest();
  await w.pod("polite", { priority: 100, preemptionPolicy: "Never" }, {}, "2");
  await w.rest();
  assert.match((await w.why("polite"))!, /preemption: not eligible due to preemptionPolicy=Never\.$/);
  await w.client.of(resources.pods).delete({ name: "polite", namespace: "default" });
  await w.pod("urgent", { priority: 100 }, {}, "2");
  await w.rest();
  assert.equal((await w.get("urgent")).status?.nominatedNodeName, "b");
  assert.ok((await w.get("free")).metadata.deletionTimestamp);
  assert.equal((await w.get("guarded")).metadata.deletionTimestamp, undefined);
  await w.client.of(resources.pods).delete({ name: "free", namespace: "default" }, { gracePeriodSeconds: 0 });
  await w.rest(15_000);
  assert.equal(await w.nodeOf("urgent"), "b");
  await w.close();
});

test("gates hold pods back; profiles choose the scheduler", async () => {
  const w = await world([
    { schedulerName: "default-scheduler" },
    { schedulerName: "mine", disabled: ["NodeResourcesFit"] },
  ]);
  await w.node("a");
  await w.pod("gated", { schedulingGates: [{ name: "later" }] });
  await w.pod("other", { schedulerName: "somebody-else" });
  await w.pod("huge", { schedulerName: "mine" }, {}, "64");
  await w.rest();
  assert.equal(await w.nodeOf("gated"), undefined);
  assert.equal(w.scheduler.pending().gated, 1);
  assert.equal(await w.nodeOf("other"), undefined);
  assert.equal(await w.nodeOf("huge"), "a");
  await w.client.of(resources.pods).delete({ name: "huge", namespace: "default" }, { gracePeriodSeconds: 0 });
  await w.client.of(resources.pods).patch({ name: "gated", namespace: "default" }, { spec: { schedulingGates: null } });
  await w.rest(1000);
  assert.equal(await w.nodeOf("gated"), "a");
  await w.close();
});

test("volumes: unbound claims, node affinity of volumes, choice of a node before binding", async () => {
  const w = await world();
  await w.node("a");
  await w.node("b");
  const claim = (name: string, spec: k8s.PersistentVolumeClaimSpec) =>
    w.client.of(resources.persistentVolumeClaims).create({ metadata: { name, namespace: "default" }, spec });
  await w.client
    .of(resources.storageClasses)
    .create({ metadata: { name: "late" }, provisioner: "x", volumeBindingMode: "WaitForFirstConsumer" });
  const terms = [{ matchExpressions: [{ key: "kubernetes.io/hostname", operator: "In", values: ["b"] }] }];
  await w.client
    .of(resources.persistentVolumes)
    .create({ metadata: { name: "pv" }, spec: { nodeAffinity: { required: { nodeSelectorTerms: terms } } } });
  await claim("here", { volumeName: "pv" });
  await claim("late", { storageClassName: "late" });
  await claim("never", {});
  await w.rest();
  const uses = (claimName: string) => ({ volumes: [{ name: "v", persistentVolumeClaim: { claimName } }] });
  for (const name of ["here", "late", "never", "missing"]) await w.pod(name, uses(name));
  await w.rest();
  assert.equal(await w.nodeOf("here"), "b");
  const chosen = await w.client.of(resources.persistentVolumeClaims).get({ name: "late", namespace: "default" });
  assert.equal(chosen.metadata.annotations?.["volume.kubernetes.io/selected-node"], await w.nodeOf("late"));
  assert.equal(await w.why("never"), "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims.");
  assert.equal(await w.why("missing"), '0/2 nodes are available: persistentvolumeclaim "missing" not found.');
  await w.close();
});

test("devices: allocated and reserved before the pod is bound, held while they are, and waited for in upstream's words", async () => {
  const w = await world();
  const claims = w.client.of(resources.resourceClaims);
  const claimOf = (name: string, count = 1) =>
    claims.create({
      metadata: { name, namespace: "default" },
      spec: {
        devices: {
          requests: [{ name: "r", exactly: { deviceClassName: "gpu", allocationMode: "ExactCount", count } }],
        },
      },
    });
  const using = (name: string) =>
    ({ resourceClaims: [{ name: "d", resourceClaimName: name }] }) as Partial<k8s.PodSpec>;
  for (const name of ["n1", "n2"]) await w.node(name);
  await w.pod("early", using("mine"));
  await w.rest(500);
  assert.equal(await w.why("early"), undefined, "a pod whose claim is not there yet is not looked at");
  await claimOf("mine");
  await w.rest(500);
  assert.match((await w.why("early"))!, /^0\/2 nodes are available: request r: device class gpu does not exist\./);
  await w.client.of(resources.deviceClasses).create({
    metadata: { name: "gpu" },
    spec: { selectors: [{ cel: { expression: "device.driver == 'gpu.example.com'" } }] },
  });
  await w.rest(2000);
  assert.match((await w.why("early"))!, /^0\/2 nodes are available: 2 cannot allocate all claims\./);
  await w.client.of(resources.resourceSlices).create({
    metadata: { name: "s" },
    spec: {
      driver: "gpu.example.com",
      nodeName: "n2",
      pool: { name: "n2", generation: 1, resourceSliceCount: 1 },
      devices: [{ name: "d0" }],
    },
  });
  await w.rest(5000);
  assert.equal(await w.nodeOf("early"), "n2");
  const claim = await claims.get({ name: "mine", namespace: "default" });
  assert.deepEqual(claim.status?.allocation?.devices?.results, [
    { request: "r", driver: "gpu.example.com", pool: "n2", device: "d0" },
  ]);
  assert.deepEqual(
    claim.status?.reservedFor?.map(({ name }) => name),
    ["early"],
  );
  assert.deepEqual(claim.metadata.finalizers, ["resource.kubernetes.io/delete-protection"]);
  await w.pod("shares", using("mine"));
  await claimOf("other");
  await w.pod("late", using("other"));
  await w.rest(5000);
  assert.equal(await w.nodeOf("shares"), "n2");
  assert.match((await w.why("late"))!, /2 cannot allocate all claims/);
  await claims.updateStatus({ ...(await claims.get(claim.metadata)), status: {} });
  await w.rest(5000);
  assert.equal(await w.nodeOf("late"), "n2");
  await w.close();
});

test("a volume is held for the pod that it was chosen for; drivers that tell their capacity are believed", async () => {
  const w = await world();
  const storageClass = (name: string, provisioner: string) =>
    w.client
      .of(resources.storageClasses)
      .create({ metadata: { name }, provisioner, volumeBindingMode: "WaitForFirstConsumer" });
  const claim = (name: string, storageClassName: string) =>
    w.client.of(resources.persistentVolumeClaims).create({
      metadata: { name, namespace: "default" },
      spec: { storageClassName, accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "5Gi" } } },
    });
  const using = (claimName: string) => ({ volumes: [{ name: "v", persistentVolumeClaim: { claimName } }] });
  await storageClass("static", "kubernetes.io/no-provisioner");
  await storageClass("csi", "csi.example.com");
  await w.client.of(resources.persistentVolumes).create({
    metadata: { name: "only" },
    spec: { storageClassName: "static", accessModes: ["ReadWriteOnce"], capacity: { storage: "5Gi" } },
  });
  await w.client
    .of(resources.csiDrivers)
    .create({ metadata: { name: "csi.example.com" }, spec: { storageCapacity: true } });
  const room = (name: string, capacity: string, zone: string) =>
    w.client.of(resources.csiStorageCapacities).create({
      metadata: { name, namespace: "default" },
      storageClassName: "csi",
      capacity,
      nodeTopology: { matchLabels: { zone } },
    });
  await room("a", "1Gi", "a");
  for (const name of ["one", "two"]) await claim(name, "static");
  await claim("big", "csi");
  await w.rest(500);
  for (const [name, of] of [
    ["p1", "one"],
    ["p2", "two"],
    ["p3", "big"],
  ] as const)
    await w.pod(name, using(of));
  await w.node("n1", {}, { zone: "a" });
  await w.rest(3000);
  assert.equal([await w.nodeOf("p1"), await w.nodeOf("p2")].filter(Boolean).length, 1);
  assert.match((await w.why("p3"))!, /1 node\(s\) did not have enough free storage/);
  await room("more", "20Gi", "a");
  await w.rest(20_000);
  assert.equal(await w.nodeOf("p3"), "n1");
  await w.close();
});
