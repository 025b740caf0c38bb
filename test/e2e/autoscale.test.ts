/** `kubectl autoscale` under real load: processors are really used, and the Deployment really grows and shrinks again. */
import assert from "node:assert/strict";
import path from "node:path";
import { after, before, test } from "node:test";
import { run, startBerth, type TestBerth } from "../support/daemon.ts";

let berth: TestBerth;
before(async () => {
  berth = await startBerth({ kubernetes: true });
  const { code, stderr } = await berth.berth("image", "bootstrap", "busybox");
  assert.equal(code, 0, stderr);
});
after(() => berth?.stop());

async function kubectl(input: string, ...args: string[]): Promise<string> {
  const env = { ...berth.env, KUBECONFIG: path.join(berth.runtimeDir, "kubeconfig") };
  const { code, stdout, stderr } = await run("kubectl", args, { env, input });
  if (code !== 0) {
    const { stdout: pods } = await run("kubectl", ["describe", "pods"], { env });
    assert.fail(`kubectl ${args.join(" ")}: ${stderr}\n${pods}`);
  }
  return stdout.trim();
}

async function until(what: string, timeoutMs: number, done: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!(await done())) {
    if (Date.now() > deadline)
      assert.fail(`not within ${timeoutMs / 1000} s: ${what}\n${await kubectl("", "describe", "hpa")}`);
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
}
const replicas = async () => Number(await kubectl("", "get", "deployment", "busy", "-o", "jsonpath={.spec.replicas}"));

/** Busy while the file exists, idle else; killed at once when told. */
const SCRIPT =
  "trap exit TERM; while :; do if [ -e /load/on ]; then for i in 1 2 3 4 5 6 7 8 9; do :; done; else sleep 0.1; fi; done";
const DEPLOYMENT = {
  apiVersion: "apps/v1",
  kind: "Deployment",
  metadata: { name: "busy" },
  spec: {
    selector: { matchLabels: { app: "busy" } },
    template: {
      metadata: { labels: { app: "busy" } },
      spec: {
        terminationGracePeriodSeconds: 1,
        volumes: [{ name: "load", hostPath: { path: "LOAD", type: "DirectoryOrCreate" } }],
        containers: [
          {
            name: "busy",
            image: "busybox",
            command: ["sh", "-c", SCRIPT],
            volumeMounts: [{ name: "load", mountPath: "/load" }],
            resources: { requests: { cpu: "50m" }, limits: { cpu: "100m" } },
          },
        ],
      },
    },
  },
};

test("a Deployment grows under load and shrinks when the load is gone", async () => {
  const load = path.join(berth.directory, "load");
  await kubectl(JSON.stringify(DEPLOYMENT).replace("LOAD", load), "apply", "-f", "-");
  await kubectl("", "rollout", "status", "deployment/busy", "--timeout=30s");
  assert.equal(
    await kubectl("", "autoscale", "deployment", "busy", "--cpu-percent=50", "--min=1", "--max=3"),
    "horizontalpodautoscaler.autoscaling/busy autoscaled",
  );
  const behavior = {
    scaleDown: { stabilizationWindowSeconds: 1, policies: [{ type: "Pods", value: 5, periodSeconds: 1 }] },
  };
  await kubectl("", "patch", "hpa", "busy", "--type=merge", "-p", JSON.stringify({ spec: { behavior } }));
  await run("touch", [path.join(load, "on")]);
  await until("3 replicas under load", 90_000, async () => (await replicas()) === 3);
  await kubectl("", "rollout", "status", "deployment/busy", "--timeout=30s");
  await until("the autoscaler to see 3 replicas", 15_000, async () =>
    /Deployment\/busy +cpu: \d+%\/50% +1 +3 +3/.test(await kubectl("", "get", "hpa", "busy")),
  );
  assert.match(await kubectl("", "top", "pod", "--no-headers"), /busy-\S+ +\d+m +\d+Mi/);
  await run("rm", [path.join(load, "on")]);
  await until("1 replica without load", 90_000, async () => (await replicas()) === 1);
  const events = await kubectl("", "get", "events", "--field-selector=reason=SuccessfulRescale");
  assert.match(events, /New size: 1; reason: All metrics below target/);
});
