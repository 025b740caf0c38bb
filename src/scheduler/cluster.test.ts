import assert from "node:assert/strict";
import { test } from "node:test";
import type { k8s } from "../api/index.ts";
import { randomInt, seededRandom } from "../base/index.ts";
import { Cluster, type Listers } from "./cluster.ts";
import type { Node } from "./node-info.ts";
import type { Pod } from "./pod-info.ts";

const ZONE = "zone";

test("pods per domain, kept as pods and nodes come, change and go, are what counting them anew gives", () => {
  const random = seededRandom(20);
  const cluster = new Cluster({} as Listers);
  const counter = cluster.counter(new Set(["default"]), "app=web", (labels) => labels?.["app"] === "web");
  const zones = new Map<string, string>();
  const placed = new Map<string, string>();
  for (let step = 0; step < 3000; step++) {
    const node = `node-${randomInt(random, 8)}`;
    const uid = `pod-${randomInt(random, 60)}`;
    switch (randomInt(random, 6)) {
      case 0: {
        const zone = `zone-${randomInt(random, 3)}`;
        zones.set(node, zone);
        const metadata = { name: node, uid: node, labels: { [ZONE]: zone } };
        cluster.setNode({ metadata, spec: {}, status: {} } as unknown as Node);
        break;
      }
      case 1:
        if (random.float() < 0.2 && zones.delete(node)) cluster.removeNode(node);
        break;
      case 2:
        if (placed.delete(uid)) cluster.removePod(uid);
        break;
      default:
        if (placed.has(uid)) break;
        placed.set(uid, node);
        cluster.addPod(podOn(uid, node));
    }
    const counted = new Map<string, number>([...zones.values()].map((zone) => [zone, 0]));
    for (const on of placed.values()) {
      const zone = zones.get(on);
      if (zone !== undefined) counted.set(zone, counted.get(zone)! + 1);
    }
    assert.deepEqual(counter.perDomain(ZONE, cluster), counted, `after step ${step}`);
  }
});

function podOn(uid: string, nodeName: string): Pod {
  const spec: k8s.PodSpec = { nodeName, containers: [{ name: "main", image: "a" }] };
  return { metadata: { name: uid, namespace: "default", uid, labels: { app: "web" } }, spec } as unknown as Pod;
}
