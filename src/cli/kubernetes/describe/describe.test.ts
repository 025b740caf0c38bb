import assert from "node:assert/strict";
import { test } from "node:test";

import { describeAny, label } from "./generic.ts";
import { describePod } from "./pod.ts";

test("names of fields as people write them", () =>
  assert.deepEqual(["creationTimestamp", "podIP", "clusterIPs", "apiVersion", "uid"].map(label), [
    "Creation Timestamp",
    "Pod IP",
    "Cluster IPs",
    "API Version",
    "UID",
  ]));

test("any object: values of neighbours below each other, levels by two spaces", () => {
  const object = {
    apiVersion: "example.com/v1",
    kind: "CronTab",
    metadata: { name: "a", namespace: "default", labels: { b: "2", a: "1" }, uid: "u", managedFields: [] },
    spec: { cron: "* *", replicas: 2, parts: [{ x: 1 }, { x: 2 }], words: ["one"] },
  };
  assert.equal(
    describeAny(object).toString(),
    `Name:         a
Namespace:    default
Labels:       a=1
              b=2
Annotations:  <none>
API Version:  example.com/v1
Kind:         CronTab
Metadata:
  UID:  u
Spec:
  Cron:  * *
  Parts:
    X:       1
    X:       2
  Replicas:  2
  Words:
    one`,
  );
});

test("a Pod: where it is, what its containers do, and why not", () => {
  const said = describePod({
    metadata: {
      name: "web",
      namespace: "default",
      ownerReferences: [{ controller: true, kind: "ReplicaSet", name: "w" } as never],
    },
    spec: {
      nodeName: "n1",
      containers: [
        { name: "main", image: "nginx", ports: [{ containerPort: 80 }], resources: { requests: { cpu: "1" } } },
      ],
    },
    status: {
      phase: "Running",
      hostIP: "10.0.0.1",
      conditions: [{ type: "Ready", status: "False", reason: "ContainersNotReady" }],
      containerStatuses: [
        {
          name: "main",
          ready: false,
          restartCount: 3,
          image: "nginx",
          imageID: "x",
          state: { waiting: { reason: "CrashLoopBackOff" } },
        },
      ],
    },
  } as never).toString();
  for (const line of [
    /^Node: +n1\/10\.0\.0\.1$/m,
    /^Controlled By: +ReplicaSet\/w$/m,
    /^ {4}State: +Waiting\n {6}Reason: +CrashLoopBackOff$/m,
    /^ {4}Restart Count: +3$/m,
    /^ {4}Port: +80\/TCP$/m,
    /^ {2}Ready +False +ContainersNotReady$/m,
    /^Node-Selectors: +<none>$/m,
  ])
    assert.match(said, line);
});
