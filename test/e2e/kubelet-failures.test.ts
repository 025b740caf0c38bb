/**
 * Failing Pods as `kubectl describe` shows them: golden transcripts in kubelet-failures/, one each, without what differs from run to run. Then that
 * none of them left anything. `BERTH_UPDATE_GOLDEN=1` writes what came instead; look at the diff.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { kernelName } from "../../src/base/index.ts";
import { atOnce } from "../support/patience.ts";
import { run } from "../support/daemon.ts";
import { podOf, startPods, type PodObject, type PodTests } from "../support/pods.ts";

let k: PodTests;
before(async () => {
  k = await startPods();
  await k.apply({
    apiVersion: "node.k8s.io/v1",
    kind: "RuntimeClass",
    metadata: { name: "absent" },
    handler: "absent",
  });
});
after(() => k?.berth.stop());

const FOREVER = "trap 'exit 0' TERM; while :; do sleep 0.1; done";
const waiting = (reason: string) => (pod: PodObject) =>
  pod.status?.containerStatuses?.[0]?.state.waiting?.reason === reason;
const failed = (reason: string) => (pod: PodObject) => pod.status?.phase === "Failed" && pod.status.reason === reason;
const image = (name: string, container: object = {}) => podOf(name, "true", {}, { image: name, ...container });

/** Nothing listens on the discard port, so that no registry is asked. */
const ABSENT = "127.0.0.1:9/absent:1";

const cases: Array<{ reason: string; pod: object; reached: (pod: PodObject) => unknown; event?: string }> = [
  {
    reason: "ErrImagePull",
    pod: podOf("errimagepull", "true", {}, { image: ABSENT }),
    reached: (pod) => waiting("ErrImagePull")(pod) || waiting("ImagePullBackOff")(pod),
    event: "Failed",
  },
  {
    reason: "InvalidImageName",
    pod: podOf("invalidimagename", "true", {}, { image: "UPPER//case" }),
    reached: waiting("InvalidImageName"),
  },
  {
    reason: "ErrImageNeverPull",
    pod: image("errimageneverpull", { imagePullPolicy: "Never" }),
    reached: waiting("ErrImageNeverPull"),
  },
  {
    reason: "CreateContainerConfigError",
    pod: podOf("createcontainerconfigerror", "true", {}, { envFrom: [{ configMapRef: { name: "absent" } }] }),
    reached: waiting("CreateContainerConfigError"),
  },
  {
    reason: "RunAsNonRoot",
    pod: podOf("runasnonroot", "true", {}, { securityContext: { runAsNonRoot: true } }),
    reached: waiting("CreateContainerConfigError"),
  },
  {
    reason: "RunContainerError",
    pod: podOf("runcontainererror", "true", {}, { command: ["/no/such/program"] }),
    reached: waiting("RunContainerError"),
  },
  {
    reason: "CrashLoopBackOff",
    pod: podOf("crashloopbackoff", "exit 3", { restartPolicy: "Always" }),
    reached: (pod) => waiting("CrashLoopBackOff")(pod) && pod.status.containerStatuses![0]!.restartCount === 1,
    event: "BackOff",
  },
  {
    reason: "OOMKilled",
    pod: podOf("oomkilled", "tail /dev/zero", {}, { resources: { limits: { memory: "16Mi" } } }),
    reached: (pod) => pod.status?.containerStatuses?.[0]?.state.terminated,
    event: "OOMKilled",
  },
  {
    reason: "FailedMount",
    pod: podOf(
      "failedmount",
      "true",
      { volumes: [{ name: "v", secret: { secretName: "absent" } }] },
      { volumeMounts: [{ name: "v", mountPath: "/v" }] },
    ),
    reached: (pod) => pod.status?.containerStatuses?.[0]?.state.waiting,
    event: "FailedMount",
  },
  {
    reason: "ClaimAbsent",
    pod: podOf(
      "claimabsent",
      "true",
      { volumes: [{ name: "v", persistentVolumeClaim: { claimName: "absent" } }] },
      { volumeMounts: [{ name: "v", mountPath: "/v" }] },
    ),
    reached: (pod) => pod.status?.conditions?.some((one) => one.reason === "Unschedulable"),
    event: "FailedScheduling",
  },
  {
    reason: "HostPathType",
    pod: podOf(
      "hostpathtype",
      "true",
      { volumes: [{ name: "v", hostPath: { path: "/etc/hostname", type: "Directory" } }] },
      { volumeMounts: [{ name: "v", mountPath: "/v" }] },
    ),
    reached: (pod) => pod.status?.containerStatuses?.[0]?.state.waiting,
    event: "FailedMount",
  },
  {
    reason: "FailedScheduling",
    pod: podOf("failedscheduling", "true", { nodeSelector: { disk: "fast" } }),
    reached: (pod) => pod.status?.conditions?.some((one) => one.reason === "Unschedulable"),
    event: "FailedScheduling",
  },
  {
    reason: "FailedCreatePodSandBox",
    pod: podOf("failedcreatepodsandbox", "true", { runtimeClassName: "absent" }),
    reached: (pod) => pod.status?.containerStatuses?.[0]?.state.waiting,
    event: "FailedCreatePodSandBox",
  },
  {
    reason: "CreateContainerError",
    pod: podOf(
      "createcontainererror",
      "true",
      {},
      { securityContext: { seccompProfile: { type: "Localhost", localhostProfile: "absent.json" } } },
    ),
    reached: waiting("CreateContainerError"),
  },
  {
    reason: "ReadinessFailed",
    pod: podOf(
      "readinessfailed",
      FOREVER,
      {},
      { readinessProbe: { exec: { command: ["cat", "/absent"] }, periodSeconds: 1, timeoutSeconds: 10 } },
    ),
    reached: (pod) => pod.status?.containerStatuses?.[0]?.state.running,
    event: "Unhealthy",
  },
  {
    reason: "LivenessFailed",
    pod: podOf(
      "livenessfailed",
      FOREVER,
      { restartPolicy: "Never" },
      {
        livenessProbe: {
          exec: { command: ["cat", "/absent"] },
          periodSeconds: 1,
          timeoutSeconds: 10,
          failureThreshold: 1,
        },
      },
    ),
    reached: (pod) => pod.status?.phase === "Failed" || pod.status?.phase === "Succeeded",
    event: "Unhealthy",
  },
  {
    reason: "StartupFailed",
    pod: podOf(
      "startupfailed",
      FOREVER,
      { restartPolicy: "Never" },
      { startupProbe: { tcpSocket: { port: 81 }, periodSeconds: 1, timeoutSeconds: 10, failureThreshold: 1 } },
    ),
    reached: (pod) => pod.status?.phase === "Failed" || pod.status?.phase === "Succeeded",
    event: "Unhealthy",
  },
  {
    reason: "PostStartHookError",
    pod: podOf(
      "poststarthookerror",
      FOREVER,
      { restartPolicy: "Never" },
      { lifecycle: { postStart: { exec: { command: ["sh", "-c", "echo broken; exit 7"] } } } },
    ),
    reached: (pod) => pod.status?.phase === "Failed",
    event: "FailedPostStartHook",
  },
  {
    reason: "Evicted",
    pod: podOf(
      "evicted",
      `dd if=/dev/zero of=/v/big bs=1M count=2 2>/dev/null; ${FOREVER}`,
      { volumes: [{ name: "v", emptyDir: { sizeLimit: "1Mi" } }] },
      { volumeMounts: [{ name: "v", mountPath: "/v" }] },
    ),
    reached: failed("Evicted"),
  },
  {
    reason: "DeadlineExceeded",
    pod: podOf("deadlineexceeded", FOREVER, { activeDeadlineSeconds: 1 }),
    reached: failed("DeadlineExceeded"),
  },
];

describe("kubectl describe of a Pod that fails:", { concurrency: atOnce(6) }, () => {
  for (const { reason, pod, reached, event } of cases) {
    test(reason, async () => {
      const name = reason.toLowerCase();
      await k.apply(pod);
      await k.until("pod", name, reached);
      while (event !== undefined && !(await k.events(name)).some((one) => one.reason === event))
        await new Promise((resolve) => setTimeout(resolve, 100));
      const actual = steady(await k.kubectl("describe", "pod", name));
      const golden = path.join(import.meta.dirname, "kubelet-failures", `${name}.txt`);
      if (process.env["BERTH_UPDATE_GOLDEN"] === "1") writeFileSync(golden, actual);
      assert.equal(actual, readFileSync(golden, "utf8"));
    });
  }

  test("ImagePullBackOff", async () => {
    await k.apply(podOf("backoff", "true", {}, { image: ABSENT }));
    const { status } = await k.until("pod", "backoff", waiting("ImagePullBackOff"));
    assert.match(
      status.containerStatuses![0]!.state.waiting!.message!,
      /^Back-off pulling image "127\.0\.0\.1:9\/absent:1": ErrImagePull: /,
    );
  });
});

test("a failed start leaves nothing once its Pod is deleted", async () => {
  await k.kubectl("delete", "pods", "--all", "--now", "--wait");
  const left = () => ({
    sandboxes: readdirSync(path.join(k.berth.runtimeDir, "sandboxes")),
    containers: readdirSync(path.join(k.berth.runtimeDir, "containers")),
    cri: readdirSync(path.join(k.berth.runtimeDir, "cri")),
    pods: readdirSync(path.join(k.berth.dataDir, "kubelet/pods")),
    logs: readdirSync(path.join(k.berth.dataDir, "kubelet/pod-logs")),
    records: ["sandboxes", "containers"].flatMap((kind) => readdirSync(path.join(k.berth.dataDir, "cri", kind))),
    mounts: readFileSync("/proc/self/mountinfo", "utf8")
      .split("\n")
      .filter((line) => /kubelet\/pods|\/containers\/|\/cri\//.test(line) && line.includes(k.berth.directory)),
    cgroups: readdirSync(path.join("/sys/fs/cgroup/memory", kernelName(k.berth.instance), "kubepods"), {
      recursive: true,
    })
      .map(String)
      .filter((entry) => /pod[0-9a-f-]{36}$/.test(entry)),
  });
  const deadline = Date.now() + 10_000;
  while (Object.values(left()).flat().length > 0 && Date.now() < deadline)
    await new Promise((resolve) => setTimeout(resolve, 100));
  assert.deepEqual(Object.values(left()).flat(), [], JSON.stringify(left()));
  const links = (await run("ip", ["-o", "link", "show", "type", "veth"])).stdout;
  assert.doesNotMatch(links, new RegExp(kernelName(k.berth.instance)));
});

/** Times, addresses, ids and the order of events differ from run to run; how often an event came, too. */
function steady(text: string): string {
  const [facts = "", events = ""] = text.split(/^Events:.*$/m);
  const lines = facts
    .split("\n")
    .filter(
      (line) =>
        !/^(Node|Start Time|IP|\s+IP|QoS Class|Node-Selectors|Tolerations|Service Account|Annotations|IPs):?/.test(
          line,
        ),
    )
    .filter((line) => !/node\.kubernetes\.io\//.test(line))
    .map((line) =>
      line
        .replace(/berth:\/\/[0-9a-f]{64}/, "berth://ID")
        .replace(/sha256:[0-9a-f]{64}/, "sha256:ID")
        .replace(/kube-api-access-\w+/, "kube-api-access-X")
        .replace(/(Started|Finished):(\s+)\w{3}, .*/, "$1:$2TIME")
        .replaceAll(/\([0-9a-f-]{36}\)/g, "(UID)")
        .replace(/^(\s+Reason:\s+)(ErrImagePull|ImagePullBackOff)$/, "$1ErrImagePull")
        .trimEnd(),
    );
  const seen = events
    .split("\n")
    .slice(3)
    .map((line) => line.trim().split(/\s{2,}/))
    .filter((columns) => columns.length >= 4)
    .map(([type, reason, , , ...message]) => `  ${type} ${reason}: ${message.join(" ")}`)
    .map((line) =>
      line
        .replaceAll(/\([0-9a-f-]{36}\)/g, "(UID)")
        .replaceAll(/"\/tmp\/[^"]*\/kubelet\//g, '"DATA/kubelet/')
        .replaceAll(/'\/tmp\/[^']*\/kubelet\//g, "'DATA/kubelet/")
        .replaceAll(/\b\d+\.\d+\.\d+\.\d+:81\b/g, "IP:81")
        .replaceAll(/_default\([^)]*\)/g, "_default(UID)")
        .replaceAll(/to berth-\S+/g, "to NODE")
        .replaceAll(/\bin [\d.]+m?s\b/g, "in TIME"),
    );
  const unique = [...new Set(seen)]
    .filter((line) => !/BackOff: Back-off pulling|Error: ImagePullBackOff/.test(line))
    .toSorted();
  return `${lines.join("\n").trimEnd()}\nEvents:\n${unique.join("\n")}\n`;
}
