import assert from "node:assert/strict";
import { test } from "node:test";
import type { k8s } from "../../api/index.ts";
import { draft, resources } from "../../client/index.ts";
import { replicaSetController } from "../replicaset/index.ts";
import { podTemplate, world } from "../testing/world.ts";
import { deploymentController } from "./index.ts";
import { planOldSets, planProportional, newSetReplicas, type SetSize } from "./rolling.ts";

const deployment = (spec: Partial<k8s.DeploymentSpec> = {}): k8s.Deployment => ({
  metadata: { name: "web", namespace: "default" },
  spec: {
    replicas: 3,
    selector: { matchLabels: { app: "web" } },
    template: podTemplate(),
    strategy: { type: "RollingUpdate", rollingUpdate: { maxSurge: "25%", maxUnavailable: "25%" } },
    revisionHistoryLimit: 10,
    progressDeadlineSeconds: 600,
    ...spec,
  },
});
const set = (name: string, replicas: number, available = replicas, max = 0): SetSize => ({
  name,
  replicas,
  available,
  maxAnnotation: max,
});

test("the sizes of a rolling update", () => {
  const ten = deployment({ replicas: 10, strategy: { rollingUpdate: { maxSurge: 3, maxUnavailable: 2 } } });
  const rows: [newSet: SetSize, old: SetSize[], grow: number, shrink: [string, number][]][] = [
    [set("new", 0), [set("a", 10)], 3, [["a", 8]]],
    [set("new", 3, 0), [set("a", 10)], 3, [["a", 8]]],
    [set("new", 5, 5), [set("a", 8)], 5, [["a", 3]]],
    [set("new", 5, 0), [set("a", 8, 4)], 5, [["a", 8]].slice(1) as [string, number][]],
    [set("new", 3, 3), [set("a", 10, 2)], 3, [["a", 5]]],
    [
      set("new", 10, 10),
      [set("a", 1), set("b", 2)],
      10,
      [
        ["a", 0],
        ["b", 0],
      ],
    ],
  ];
  for (const [now, old, grow, shrink] of rows) {
    assert.equal(newSetReplicas(ten, now.replicas, old), grow);
    assert.deepEqual(
      planOldSets(ten, now, old).map(({ name, replicas }) => [name, replicas]),
      shrink,
    );
  }
});

test("a resize in the middle of a rollout is shared out in proportion", () => {
  const thirty = deployment({ replicas: 15, strategy: { rollingUpdate: { maxSurge: 3, maxUnavailable: 2 } } });
  const steps = planProportional(thirty, set("new", 5, 0, 13), [set("old", 8, 8, 13)]);
  assert.deepEqual(steps, [
    { name: "old", replicas: 11 },
    { name: "new", replicas: 7 },
  ]);
});

test("a deployment rolls out, rolls over and rolls back as upstream tells it", async () => {
  const w = await world([deploymentController, replicaSetController]);
  const deployments = w.client.of(resources.deployments);
  await deployments.create(deployment());
  await w.rest();
  assert.equal((await w.pods()).length, 3);
  await w.runPods();
  let now = await deployments.get({ name: "web", namespace: "default" });
  const shown = (status: k8s.DeploymentStatus | undefined) =>
    status?.conditions?.map(({ type, status: state, reason, message }) => `${type}=${state} ${reason}: ${message}`);
  const first = (await w.client.of(resources.replicaSets).list()).items[0]!.metadata.name;
  assert.deepEqual(shown(now.status)?.sort(), [
    "Available=True MinimumReplicasAvailable: Deployment has minimum availability.",
    `Progressing=True NewReplicaSetAvailable: ReplicaSet "${first}" has successfully progressed.`,
  ]);
  assert.match(first, /^web-[bcdfghjklmnpqrstvwxz2456789]+$/);
  const { observedGeneration, replicas, updatedReplicas, readyReplicas, availableReplicas } = now.status!;
  assert.deepEqual(
    { observedGeneration, replicas, updatedReplicas, readyReplicas, availableReplicas },
    {
      observedGeneration: 1,
      replicas: 3,
      updatedReplicas: 3,
      readyReplicas: 3,
      availableReplicas: 3,
    },
  );
  assert.ok((await w.events()).includes(`ScalingReplicaSet: Scaled up replica set ${first} from 0 to 3`));

  now = await deployments.get({ name: "web", namespace: "default" });
  const changed = draft(now);
  changed.spec!.template = podTemplate(undefined, "nginx:2");
  await deployments.update(changed);
  for (let round = 0; round < 12; round++) {
    await w.runPods();
    const running = (await w.pods()).filter((pod) => !pod.metadata.deletionTimestamp);
    assert.ok(running.length >= 3 && running.length <= 4, `${running.length} pods in the middle of the rollout`);
  }
  const sets = (await w.client.of(resources.replicaSets).list()).items;
  assert.deepEqual(
    sets
      .map((each) => `${each.spec?.replicas} ${each.metadata.annotations?.["deployment.kubernetes.io/revision"]}`)
      .sort(),
    ["0 1", "3 2"],
  );
  assert.ok((await w.pods()).every((pod) => pod.spec?.containers[0]?.image === "nginx:2"));

  const back = draft(await deployments.get({ name: "web", namespace: "default" }));
  back.spec!.template = podTemplate();
  await deployments.update(back);
  for (let round = 0; round < 12; round++) await w.runPods();
  const original = await w.client.of(resources.replicaSets).get({ name: first, namespace: "default" });
  assert.equal(original.metadata.annotations?.["deployment.kubernetes.io/revision"], "3");
  assert.equal(original.metadata.annotations?.["deployment.kubernetes.io/revision-history"], "1");
  assert.equal(original.spec?.replicas, 3);
  await w.close();
});

test("recreate waits until the last old pod is gone", async () => {
  const w = await world([deploymentController, replicaSetController]);
  const deployments = w.client.of(resources.deployments);
  const made = await deployments.create(deployment({ strategy: { type: "Recreate" } }));
  await w.rest();
  for (const pod of await w.pods()) await w.client.of(resources.pods).patch(pod.metadata, { spec: { nodeName: "n" } });
  await w.runPods();
  const changed = draft(await deployments.get({ name: "web", namespace: "default" }));
  changed.spec!.template = podTemplate(undefined, "nginx:2");
  await deployments.update(changed);
  await w.rest(1000);
  assert.deepEqual(
    (await w.pods()).map((pod) => [pod.spec?.containers[0]?.image, !!pod.metadata.deletionTimestamp]),
    Array(3).fill(["nginx:1", true]),
  );
  for (let round = 0; round < 3; round++) await w.runPods();
  assert.deepEqual(
    (await w.pods()).map((pod) => pod.spec?.containers[0]?.image),
    Array(3).fill("nginx:2"),
  );
  assert.ok(made);
  await w.close();
});

test("a rollout that does not progress times out; a paused one is left alone", async () => {
  const w = await world([deploymentController, replicaSetController]);
  const deployments = w.client.of(resources.deployments);
  await deployments.create(deployment({ progressDeadlineSeconds: 60 }));
  await w.rest(70_000);
  const stuck = await deployments.get({ name: "web", namespace: "default" });
  assert.equal(
    stuck.status?.conditions?.find(({ type }) => type === "Progressing")?.reason,
    "ProgressDeadlineExceeded",
  );
  const paused = draft(stuck);
  paused.spec!.paused = true;
  paused.spec!.template = podTemplate(undefined, "nginx:2");
  paused.spec!.replicas = 5;
  await deployments.update(paused);
  await w.rest(1000);
  assert.deepEqual(
    (await w.pods()).map((pod) => pod.spec?.containers[0]?.image),
    Array(5).fill("nginx:1"),
  );
  await w.close();
});

test("a stale cache creates no pod twice", async () => {
  const w = await world([deploymentController, replicaSetController]);
  await w.client.of(resources.deployments).create(deployment({ replicas: 20 }));
  await w.rest();
  w.api.dropWatches();
  const changed = draft(await w.client.of(resources.deployments).get({ name: "web", namespace: "default" }));
  changed.spec!.replicas = 40;
  await w.client.of(resources.deployments).update(changed);
  await w.rest(60_000);
  const creations = w.api.writes.filter((write) => write === "POST /api/v1/namespaces/default/pods");
  assert.equal(creations.length, 40);
  assert.equal((await w.pods()).length, 40);
  await w.close();
});
