/** What a node does by itself: static Pods from a folder, and Pods that end with their grace when the machine goes down. */
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { startBerth } from "../support/daemon.ts";
import { podOf, podTests, shell, type PodObject, type PodTests } from "../support/pods.ts";

let k: PodTests;
let manifests: string;
let words: string;
before(async () => {
  const berth = await startBerth({ kubernetes: true, start: false });
  manifests = path.join(berth.directory, "manifests");
  words = path.join(berth.directory, "words");
  mkdirSync(manifests);
  mkdirSync(words, { mode: 0o777 });
  writeFileSync(path.join(berth.directory, "daemon.json"), JSON.stringify({ kubelet: { staticPodPath: manifests } }));
  k = podTests(berth);
  await berth.start();
  assert.equal((await berth.berth("image", "bootstrap", "busybox")).code, 0);
});
after(() => k?.berth.stop());

const nodeName = () => `berth-${k.berth.instance}`;
const web = () => `web-${nodeName()}`;

function manifest(word: string): void {
  const pod = podOf("web", "", {
    restartPolicy: "Always",
    containers: [{ ...shell("main", `echo ${word}; while :; do sleep 0.2; done`), imagePullPolicy: "IfNotPresent" }],
  });
  writeFileSync(path.join(manifests, "web.json"), JSON.stringify(pod));
}
const containerOf = (pod: PodObject) => pod.status.containerStatuses?.[0]?.containerID;

test("a static Pod runs, is seen through its mirror, outlives the mirror and the daemon, and follows its file", async () => {
  manifest("first");
  const running = await k.running(web());
  assert.equal(running.spec.nodeName, nodeName());
  assert.equal(await k.kubectl("logs", web()), "first\n");
  assert.equal(await k.exec(web(), "echo", "inside"), "inside\n");
  await k.kubectl("delete", "pod", web(), "--wait=false");
  const again = await k.until(
    "pod",
    web(),
    (pod: PodObject) => pod.metadata.uid !== running.metadata.uid && pod.status.phase === "Running",
  );
  assert.equal(containerOf(again), containerOf(running));

  await k.berth.kill();
  await k.berth.start();
  assert.equal(containerOf(await k.running(web())), containerOf(running));
  assert.match(await k.kubectl("describe", "pod", web()), /Normal\s+Started\s.*Started container main/);

  manifest("second");
  await k.until("pod", web(), (pod: PodObject) => {
    const id = containerOf(pod);
    return id !== undefined && id !== containerOf(running) && pod.status.phase === "Running";
  });
  assert.equal(await k.kubectl("logs", web()), "second\n");
  rmSync(path.join(manifests, "web.json"));
  await k.kubectl("wait", "--for=delete", `pod/${web()}`, "--timeout=30s");
});

test("berth down --pods ends Pods with their grace; they are Failed when berth is back", async () => {
  const say = `trap 'echo ended >> /words/said; exit 0' TERM; while :; do sleep 0.1; done`;
  const volumes = [{ name: "words", hostPath: { path: words } }];
  const mount = { volumeMounts: [{ name: "words", mountPath: "/words" }] };
  await k.apply(podOf("polite", say, { terminationGracePeriodSeconds: 20, volumes, restartPolicy: "Always" }, mount));
  await k.running("polite");
  const down = await k.berth.berth("down", "--pods");
  assert.equal(down.code, 0, down.stderr);
  assert.equal(readFileSync(path.join(words, "said"), "utf8"), "ended\n");
  await k.berth.start();
  const ended = await k.get("pod", "polite");
  assert.equal(ended.status.phase, "Failed");
  assert.equal(ended.status.reason, "Terminated");
  assert.equal(ended.status.message, "Pod was terminated in response to imminent node shutdown.");
  await k.kubectl("wait", "--for=condition=Ready", `node/${nodeName()}`, "--timeout=30s");
});
