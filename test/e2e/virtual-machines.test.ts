/** VirtualMachines of the cluster: one from an OCI image, on the Pod network behind a Service, with a snapshot and a backup. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import http from "node:http";
import path from "node:path";
import { after, before, test } from "node:test";
import { startBerth, type Output, type TestBerth } from "../support/daemon.ts";
import { importBusybox } from "../support/images.ts";

const LONG_MS = 300_000;
let berth: TestBerth;
let kubeconfig: string;

before(async () => {
  berth = await startBerth({ kubernetes: true });
  kubeconfig = path.join(berth.directory, "kubeconfig");
  await importBusybox(berth);
  const { code, stdout, stderr } = await berth.berth("kubeconfig");
  assert.equal(code, 0, stderr);
  writeFileSync(kubeconfig, stdout);
});
after(() => berth.stop());

function run(args: readonly string[], input?: unknown): Promise<Output> {
  return new Promise((resolve) => {
    const child = execFile(
      "kubectl",
      ["--kubeconfig", kubeconfig, ...args],
      { timeout: LONG_MS, env: berth.env },
      (error, stdout, stderr) => resolve({ code: error ? 1 : 0, stdout, stderr }),
    );
    child.stdin!.end(input === undefined ? "" : JSON.stringify(input));
  });
}
async function kubectl(args: string, input?: unknown): Promise<string> {
  const { code, stdout, stderr } = await run(args.split(" "), input);
  assert.equal(code, 0, `kubectl ${args}: ${stderr}${stdout}`);
  return stdout.trim();
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + LONG_MS;
  while (!(await holds())) {
    if (performance.now() > deadline) {
      const { stdout } = await run(["describe", "vms,pods"]);
      assert.fail(`${what} did not come true\n${stdout}\n${berth.daemonLog().split("\n").slice(-40).join("\n")}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

function ask(host: string): Promise<string> {
  return new Promise((resolve) => {
    http
      .get({ host, port: 80, agent: false, timeout: 3000 }, (response) => {
        let text = "";
        response.on("data", (chunk: Buffer) => (text += chunk.toString())).on("end", () => resolve(text));
      })
      .on("error", () => resolve(""))
      .on("timeout", function (this: http.ClientRequest) {
        this.destroy();
      });
  });
}

const API = "vm.berth.dev/v1alpha1";
const source = { name: "web" };
const script = "mkdir -p /www; [ -e /www/index.html ] || echo from-vm >/www/index.html; exec httpd -f -p 80 -h /www";
const machine = {
  apiVersion: API,
  kind: "VirtualMachine",
  metadata: { name: "web" },
  spec: {
    running: true,
    template: {
      metadata: { labels: { app: "web" } },
      spec: {
        source: { image: "busybox:latest" },
        args: ["sh", "-c", script],
        cpu: { cores: 1 },
        memory: { guest: "96Mi" },
        terminationGracePeriodSeconds: 5,
        readinessProbe: { httpGet: { path: "/", port: 80 }, periodSeconds: 1 },
      },
    },
  },
};
const service = {
  apiVersion: "v1",
  kind: "Service",
  metadata: { name: "web" },
  spec: { selector: { app: "web" }, ports: [{ port: 80 }] },
};
const machines = () => {
  const folder = path.join(berth.dataDir, "machines", "vms");
  return existsSync(folder) ? readdirSync(folder) : [];
};
const status = (field: string) => kubectl(`get vm web -o jsonpath={.status.${field}}`);

test("a VirtualMachine is served, scheduled, restarted, copied and gone", async (t) => {
  await until("the definitions", async () => (await run(["get", "vms"])).code === 0);

  await t.test("what can't be is refused", async () => {
    const spec = { ...machine.spec, runStrategy: "Always" };
    const { code, stderr } = await run(["apply", "-f", "-"], { ...machine, spec });
    assert.equal(code, 1);
    assert.match(stderr, /mutually exclusive/);
  });

  await t.test("who may see a namespace sees its machines, and who may change it makes none", async () => {
    await kubectl("create rolebinding seer --clusterrole=view --user=seer");
    await kubectl("create rolebinding maker --clusterrole=edit --user=maker");
    const can = (what: string) => run(["auth", "can-i", ...what.split(" ")]);
    await until("the role", async () => (await can("list virtualmachines.vm.berth.dev --as=seer")).code === 0);
    await until("the role", async () => (await can("get virtualmachinebackups.vm.berth.dev --as=maker")).code === 0);
    assert.equal((await can("create virtualmachines.vm.berth.dev --as=maker")).code, 1);
  });

  await t.test("it runs on the Pod network behind its Service", async () => {
    await kubectl("apply -f -", machine);
    await kubectl("apply -f -", service);
    await kubectl(`wait --for=condition=Ready vm/web --timeout=${LONG_MS / 1000}s`);
    const address = await kubectl("get service web -o jsonpath={.spec.clusterIP}");
    await until("the page through the Service", async () => (await ask(address)) === "from-vm\n");
    const table = await kubectl("get vms");
    assert.match(table, /^NAME +STATUS +READY +NODE +IP +CPU +MEMORY +AGE\nweb +Running +true +\S+ +10\.\S+ +1 +96Mi /);
    const requests = "{.spec.containers[0].resources.requests}";
    assert.match(await kubectl(`get pod web-launcher -o jsonpath=${requests}`), /"cpu":"100m","memory":"224Mi"/);
  });

  await t.test("its guest knows the cluster's names", async () => {
    const name = await status("machine");
    const address = await kubectl("get service web -o jsonpath={.spec.clusterIP}");
    const look = ["vm", "exec", name, "--", "/bin/busybox", "nslookup", "web.default.svc.cluster.local"];
    await until("an answer to the guest", async () =>
      (await berth.berthWith({ timeoutMs: LONG_MS }, ...look)).stdout.includes(`Address: ${address}`),
    );
  });

  await t.test("a daemon that was killed finds it again", async () => {
    const [before] = machines();
    const address = await status("ipAddress");
    await berth.kill();
    await berth.start();
    await until("its status", async () => (await run(["wait", "--for=condition=Ready", "vm/web"])).code === 0);
    assert.equal(await ask(address), "from-vm\n");
    assert.deepEqual(machines(), [before]);
    assert.equal(await status("restarts"), "0");
  });

  await t.test("without its launcher it goes on in another", async () => {
    const uid = "get pod web-launcher -o jsonpath={.metadata.uid}";
    const before = await kubectl(uid);
    await kubectl("delete pod web-launcher --timeout=120s");
    await until("another launcher", async () => ![before, ""].includes((await run(uid.split(" "))).stdout.trim()));
    await kubectl(`wait --for=condition=Ready vm/web --timeout=${LONG_MS / 1000}s`);
    const address = await kubectl("get service web -o jsonpath={.spec.clusterIP}");
    await until("the page through the Service", async () => (await ask(address)) === "from-vm\n");
  });

  await t.test("a snapshot and a backup", async () => {
    for (const kind of ["VirtualMachineSnapshot", "VirtualMachineBackup"])
      await kubectl("apply -f -", { apiVersion: API, kind, metadata: { name: "copy" }, spec: { source } });
    const wait = `--for=jsonpath={.status.phase}=Succeeded --timeout=${LONG_MS / 1000}s`;
    await kubectl(`wait ${wait} vmsnapshot/copy vmbackup/copy`);
    assert.match(await kubectl("get vmbackups"), /copy +web +Succeeded +full +(agent|crash)/);
  });

  await t.test("it is stopped, and what is deleted leaves nothing", async () => {
    await kubectl('patch vm web --type merge -p {"spec":{"running":false}}');
    await until("the stop", async () => (await status("printableStatus")) === "Stopped");
    await until("the launcher's end", async () => (await run(["get", "pod", "web-launcher"])).code === 1);
    await kubectl("delete vm web --timeout=120s");
    await kubectl("delete vmbackup copy --timeout=60s");
    assert.deepEqual(machines(), []);
    assert.deepEqual(readdirSync(path.join(berth.dataDir, "machines", "backups")), []);
    await until("the snapshot's end", async () => (await run(["get", "vmsnapshot", "copy"])).code === 1);
  });
});
