/** Pods on CNI plugins of the operating system instead of berth's own network. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { startBerth, type TestBerth } from "../support/daemon.ts";

const BRIDGE = "brthcnitest0";
let berth: TestBerth;
let kubectl: (...args: string[]) => string;

before(async () => {
  berth = await startBerth({ start: false, kubernetes: true });
  const confDir = path.join(berth.directory, "cni");
  mkdirSync(confDir);
  const ipam = {
    type: "host-local",
    dataDir: path.join(berth.directory, "ipam"),
    ranges: [[{ subnet: "10.251.7.0/24" }]],
    routes: [{ dst: "0.0.0.0/0" }],
  };
  const list = {
    cniVersion: "0.4.0",
    name: "test-lan",
    plugins: [{ type: "bridge", bridge: BRIDGE, isGateway: true, ipam }, { type: "tuning" }],
  };
  writeFileSync(path.join(confDir, "10-test.conflist"), JSON.stringify(list));
  writeFileSync(
    path.join(berth.directory, "daemon.json"),
    JSON.stringify({ "cni-conf-dir": confDir, "cni-bin-dir": "/usr/lib/cni" }),
  );
  await berth.start();
  const kubeconfig = path.join(berth.runtimeDir, "kubeconfig");
  kubectl = (...args) =>
    execFileSync("kubectl", ["--kubeconfig", kubeconfig, ...args], { encoding: "utf8", timeout: 30_000 });
  const made = await berth.berth("image", "bootstrap", "busybox");
  assert.equal(made.code, 0, made.stderr);
});
after(async () => {
  await berth.stop();
  execFileSync("ip", ["link", "delete", BRIDGE], { stdio: "ignore" });
});

test("a Pod gets its address from the plugins, is reached there, and gives it back", () => {
  kubectl(
    "run",
    "web",
    "--image=busybox",
    "--image-pull-policy=IfNotPresent",
    "--command",
    "--",
    "sh",
    "-c",
    "trap exit TERM; ip -4 addr show eth0; while :; do sleep 0.1; done",
  );
  kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=20s");
  const ip = kubectl("get", "pod", "web", "-o", "jsonpath={.status.podIP}");
  assert.match(ip, /^10\.251\.7\.\d+$/);
  assert.ok(kubectl("logs", "web").includes(ip));
  execFileSync("ping", ["-c", "1", "-W", "2", ip]);
  kubectl("delete", "pod", "web", "--now");
  const leases = execFileSync("ls", [path.join(berth.directory, "ipam", "test-lan")], { encoding: "utf8" });
  assert.ok(!leases.includes(ip), `the address is still leased: ${leases}`);
});
