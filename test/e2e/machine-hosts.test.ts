/**
 * berth within one of its own virtual machines: a Debian with systemd and control groups v2 alone. Some minutes where machines are emulated, so asked for:
 *
 *     BERTH_VM_HOST=1 node scripts/test.ts e2e machine-hosts
 *     BERTH_VM_HOST="kubelet containers" …   these files of the suite instead, run in the machine
 */
import assert from "node:assert/strict";
import { copyFileSync, existsSync, mkdirSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { root, run, startBerth, type TestBerth } from "../support/daemon.ts";
import { LONG_MS, machinesOf, until } from "../support/machines.ts";
import { podOf, podTests } from "../support/pods.ts";

const wanted = process.env["BERTH_VM_HOST"];
const skip = wanted ? false : "boots a Debian with berth in it, which takes minutes under emulation: BERTH_VM_HOST=1";
const FILES = wanted && wanted !== "1" ? wanted.split(" ") : ["runtime", "docker-cli"];
/** Per file of the suite. */
const SUITE_MS = 30 * 60_000;
/** What berth's development needs and its tests do not. */
const LEFT_OUT = ["@oxlint*", "@oxc*", "@oxfmt", "@typescript", "knip", "oxfmt", "oxlint*", "typescript", "*/include"];
const ENVIRONMENT =
  "export HOME=/root BERTH_NO_INSTALL=1 BERTH_TEST_PATIENCE=10 PATH=/w/tools:/w/main/node_modules/.bin:$PATH; cd /w/main";

let berth: TestBerth;
let vms: ReturnType<typeof machinesOf>;

before(async () => {
  if (skip) return;
  berth = await startBerth({ kubernetes: true });
  vms = machinesOf(berth);
});
after(() => berth?.stop());

/** The checkout, its packages and the static clients, as one file: many small ones are slow to read through a shared folder. */
async function packed(): Promise<string> {
  const folder = path.join(berth.directory, "share");
  const tools = path.join(berth.directory, "tools");
  for (const made of [folder, tools]) mkdirSync(made);
  for (const program of ["docker", "kubectl"]) {
    const found = (process.env["PATH"] ?? "").split(":").map((place) => path.join(place, program));
    copyFileSync(
      found.find((file) => existsSync(file))!,
      path.join(tools, program),
    );
  }
  const argv = [
    "-cf",
    path.join(folder, "host.tar"),
    "--exclude=.git",
    ...LEFT_OUT.map((name) => `--exclude=node_modules/${name}`),
    "--transform",
    `s|^${path.basename(root)}|main|`,
    "-C",
    path.dirname(root),
    path.basename(root),
    ...(existsSync(path.join(root, "../shared")) ? ["shared"] : []),
    "-C",
    berth.directory,
    "tools",
  ];
  const { code, stderr } = await run("tar", argv);
  assert.equal(code, 0, stderr);
  return folder;
}

test(
  "files of this suite pass on a host with systemd and control groups v2 alone",
  { skip, timeout: 2 * SUITE_MS },
  async () => {
    const flags = ["--cpus", "2", "--memory", "4g", "--disk", "12g", "--share", `${await packed()}:host:ro`, "--wait"];
    await vms.done("run", "berth", "--name", "host", ...flags);
    const sh = (script: string) => vms.done("exec", "host", "--", "bash", "-c", script);
    assert.equal(
      await sh("stat -fc %T /sys/fs/cgroup; ls -d /sys/fs/cgroup/*/cgroup.procs | wc -l | grep -c ."),
      "cgroup2fs\n1",
    );
    await sh("mkdir -p /w /run/host; mount -t virtiofs host /run/host; tar -xf /run/host/host.tar -C /w");
    await sh("apt-get update -qq && apt-get install -qq -y --no-install-recommends runc >/dev/null 2>&1");
    for (const name of FILES) {
      const command = `${ENVIRONMENT}; node --test --test-timeout=${SUITE_MS} test/e2e/${name}.test.ts >/w/log 2>&1; echo $? >/w/code`;
      await sh(`rm -f /w/code; systemd-run --quiet --unit=suite-${name} bash -c '${command}'`);
      await until(name, async () => (await vms.vm("exec", "host", "--", "test", "-e", "/w/code")).code === 0, SUITE_MS);
      assert.equal(await sh("cat /w/code"), "0", await sh("tail -c 4000 /w/log"));
      // Our groups stand beside systemd's, and stay as they are when it makes its own anew.
      await sh("systemctl daemon-reload");
    }
    await vms.done("rm", "--force", "host");
  },
);

test(
  "a node that is a virtual machine: Pods on its kernel, of this machine's images, reached as any; power off, on, removed",
  { skip },
  async () => {
    const pods = podTests(berth);
    assert.equal((await berth.berth("image", "bootstrap", "busybox")).code, 0);
    const node = async (...args: string[]) => {
      const { code, stdout, stderr } = await berth.berthWith({ timeoutMs: 2 * LONG_MS }, "node", ...args);
      assert.equal(code, 0, stderr);
      return stdout.trim();
    };
    const huge = await berth.berth("node", "add", "--vm", "--memory", "900g");
    assert.match(huge.stderr, /of memory would be promised/);
    assert.doesNotMatch(await node("ls"), /-2/);

    const name = await node("add", "--vm", "--cpus", "2", "--memory", "2g");
    const kernel = (of: string) => pods.kubectl("get", "node", of, "-o", "jsonpath={.status.nodeInfo.kernelVersion}");
    const own = name.replace(/-2$/, "");
    assert.notEqual(await kernel(name), await kernel(own));
    const serve = (said: string) => `echo ${said} >/tmp/index.html; exec httpd -f -p 80 -h /tmp`;
    const service = (of: string) => ({
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: of },
      spec: { selector: { test: of }, ports: [{ port: 80 }] },
    });
    await pods.apply(
      podOf("far", serve("far"), { nodeName: name, restartPolicy: "Always" }, { imagePullPolicy: "Always" }),
      podOf("near", serve("near"), { nodeName: own }),
      service("far"),
      service("near"),
    );
    const patient = (pod: string) =>
      until(pod, async () =>
        pods.running(pod).then(
          () => true,
          () => false,
        ),
      );
    await patient("far");
    await patient("near");
    assert.equal((await pods.exec("far", "uname", "-r")).trim(), await kernel(name));
    const asks = async (from: string, to: string) => {
      const ip = await pods.kubectl("get", "service", to, "-o", "jsonpath={.spec.clusterIP}");
      const request = `printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 10 ${ip} 80`;
      await until(`${to} from ${from}`, async () =>
        (await pods.try("exec", from, "--", "sh", "-c", request)).stdout.includes(`\n${to}\n`),
      );
    };
    await asks("far", "near");
    await asks("near", "far");

    await node("stop", name);
    assert.match((await pods.try("logs", "far")).stderr, /has no containers to connect to/);
    await node("start", name);
    await until("the Pod's next container", async () => (await pods.try("exec", "far", "--", "true")).code === 0);
    await asks("near", "far");
    await node("remove", name);
    assert.match((await pods.try("get", "node", name)).stderr, /not found/);
    assert.doesNotMatch(await vms.done("ls", "--quiet"), new RegExp(name));
  },
);
