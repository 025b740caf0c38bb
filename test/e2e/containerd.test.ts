/** The kubelet on somebody else's runtime: Debian's containerd with runc and a CNI bridge, by its CRI socket. Skipped where containerd is not installed. */
import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { has, run, startBerth } from "../support/daemon.ts";
import { podOf, podTests, shell, type PodTests } from "../support/pods.ts";

const missing = ["containerd", "ctr", "runc"].filter((program) => !has(program));
if (!existsSync("/usr/lib/cni/bridge")) missing.push("containernetworking-plugins");
const skip = missing.length > 0 ? `not installed: ${missing.join(", ")}` : false;

const IMAGE = "docker.io/berth/busybox:1";
const PAUSE = "docker.io/berth/pause:1";

describe("Pods on containerd", { skip }, () => {
  let k: PodTests;
  let containerd: ChildProcess;
  let folder: string;
  let socket: string;
  const ctr = async (...args: string[]) => {
    const output = await run("ctr", ["--address", socket, "--namespace", "k8s.io", ...args]);
    assert.equal(output.code, 0, `ctr ${args.join(" ")}: ${output.stderr}`);
    return output.stdout;
  };

  before(async () => {
    const berth = await startBerth({ kubernetes: true, start: false });
    k = podTests(berth);
    folder = path.join(berth.directory, "containerd");
    socket = path.join(folder, "containerd.sock");
    mkdirSync(path.join(folder, "net.d"), { recursive: true });
    writeFileSync(path.join(folder, "config.toml"), config(folder));
    // The process's number keeps tests that run side by side apart.
    const bridge = `cd${process.pid}`.slice(0, 15);
    writeFileSync(path.join(folder, "net.d/10-bridge.conflist"), network(bridge, process.pid % 250));
    containerd = spawn("containerd", ["--config", path.join(folder, "config.toml")], { stdio: "ignore" });
    await until(async () => (await run("ctr", ["--address", socket, "version"])).code === 0, "containerd answers");
    writeFileSync(
      path.join(berth.directory, "daemon.json"),
      JSON.stringify({ kubelet: { containerRuntimeEndpoint: `unix://${socket}` } }),
    );
    await berth.start();
    assert.equal((await berth.berth("image", "bootstrap", "busybox")).code, 0);
    writeFileSync(path.join(folder, "Dockerfile"), 'FROM busybox\nCMD ["sleep", "2147483647"]\n');
    await berth.docker("build", "-q", "-t", "berth/pause:1", folder);
    await berth.docker("tag", "busybox", "berth/busybox:1");
    const archive = path.join(folder, "images.tar");
    await berth.docker("save", "-o", archive, "berth/pause:1", "berth/busybox:1");
    await ctr("images", "import", "--no-unpack", archive).catch(() => ctr("images", "import", archive));
    rmSync(archive);
  });

  after(async () => {
    const bridge = `cd${process.pid}`.slice(0, 15);
    try {
      await k?.berth.down();
      for (const id of socket
        ? (await ctr("containers", "list", "-q").catch(() => "")).split("\n").filter(Boolean)
        : []) {
        await run("ctr", ["--address", socket, "--namespace", "k8s.io", "tasks", "delete", "--force", id]);
        await run("ctr", ["--address", socket, "--namespace", "k8s.io", "containers", "delete", id]);
      }
      const exited = new Promise((resolve) => containerd?.once("exit", resolve));
      if (containerd?.kill("SIGTERM")) await exited;
      await run("ip", ["link", "delete", bridge]);
      rmSync(`/run/${bridge}`, { recursive: true, force: true });
      for (const mount of mountsBelow(folder)) await run("umount", ["-l", mount]);
      for (const name of readdirSync("/run/netns").filter((entry) => entry.startsWith("cni-")))
        if (netnsBefore && !netnsBefore.has(name)) await run("ip", ["netns", "delete", name]);
    } finally {
      await k?.berth.stop();
    }
  });
  const netnsBefore = existsSync("/run/netns") ? new Set(readdirSync("/run/netns")) : new Set<string>();

  test("a Pod runs there: logs, exec, probes, volumes, restarts, deletion", async () => {
    const node = await k.get<{ status: { nodeInfo: { containerRuntimeVersion: string } } }>(
      "node",
      `berth-${k.berth.instance}`,
    );
    assert.match(node.status.nodeInfo.containerRuntimeVersion, /^containerd:\/\/1\./);
    const container = {
      ...shell("main", "echo $WORD; trap 'exit 0' TERM; touch /tmp/up; while :; do sleep 0.1; done"),
      image: IMAGE,
      imagePullPolicy: "IfNotPresent",
      env: [{ name: "WORD", value: "spoken" }],
      readinessProbe: { exec: { command: ["test", "-e", "/tmp/up"] }, periodSeconds: 1 },
      volumeMounts: [{ name: "settings", mountPath: "/settings" }],
      resources: { limits: { memory: "64Mi" } },
    };
    await k.apply(
      { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "settings" }, data: { key: "value" } },
      podOf("guest", "", {
        restartPolicy: "Always",
        containers: [container],
        volumes: [{ name: "settings", configMap: { name: "settings" } }],
      }),
    );
    const pod = await k.running("guest");
    assert.match(pod.status.containerStatuses![0]!.containerID!, /^containerd:\/\//);
    assert.equal(await k.kubectl("logs", "guest"), "spoken\n");
    assert.equal(await k.exec("guest", "cat", "/settings/key"), "value");
    assert.equal((await k.try("exec", "guest", "--", "sh", "-c", "exit 7")).code, 7);
    const found = await ctr("containers", "list", "-q");
    assert.ok(found.includes(pod.status.containerStatuses![0]!.containerID!.replace("containerd://", "")));

    await k.exec("guest", "kill", "1");
    await k.until("pod", "guest", ({ status }: typeof pod) => {
      const [main] = status.containerStatuses ?? [];
      return main?.restartCount === 1 && main.ready;
    });
    await k.kubectl("delete", "pod", "guest", "--wait=true");
    assert.equal((await ctr("containers", "list", "-q")).trim(), "");
  });

  test("an image that containerd has not and can't get is said with its words", async () => {
    await k.apply(podOf("absent", "", { containers: [{ name: "main", image: "127.0.0.1:1/none:1" }] }));
    const pod = await k.until("pod", "absent", ({ status }: Awaited<ReturnType<typeof k.running>>) =>
      status.containerStatuses?.some(({ state }) => /ErrImagePull|ImagePullBackOff/.test(state.waiting?.reason ?? "")),
    );
    assert.equal(pod.status.phase, "Pending");
    await k.kubectl("delete", "pod", "absent", "--grace-period=0", "--force");
    await until(async () => (await ctr("containers", "list", "-q")).trim() === "", "its sandbox goes");
  });
});

async function until(condition: () => Promise<boolean>, what: string): Promise<void> {
  const deadline = Date.now() + 30_000;
  while (!(await condition())) {
    if (Date.now() > deadline) assert.fail(`never: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

function mountsBelow(folder: string): string[] {
  const text = existsSync("/proc/self/mounts") ? readMounts() : [];
  return text.filter((mount) => mount.startsWith(`${folder}/`)).toReversed();
}

function readMounts(): string[] {
  return String(process.getBuiltinModule("node:fs").readFileSync("/proc/self/mounts"))
    .split("\n")
    .map((line) => line.split(" ")[1] ?? "");
}

/** No process gets a negative oom_score_adj, which takes a capability that not every root has. */
function config(folder: string): string {
  return `version = 2
root = "${folder}/root"
state = "${folder}/state"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "${folder}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${PAUSE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "${folder}/net.d"
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"
  default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
`;
}

function network(bridge: string, number: number): string {
  return JSON.stringify({
    cniVersion: "0.4.0",
    name: bridge,
    plugins: [
      {
        type: "bridge",
        bridge,
        isGateway: true,
        ipMasq: false,
        ipam: {
          type: "host-local",
          ranges: [[{ subnet: `10.199.${number}.0/24` }]],
          routes: [{ dst: "0.0.0.0/0" }],
          dataDir: `/run/${bridge}`,
        },
      },
    ],
  });
}
