import assert from "node:assert/strict";
import { test } from "node:test";
import type { k8s, vm } from "../../api/index.ts";
import { FakeClock, failedPrecondition, MiB, seededRandom, silentLogger } from "../../base/index.ts";
import { InformerFactory, KubeClient, resources, type Stored } from "../../client/index.ts";
import { FakeApi, testUser } from "../../client/testing/fake.ts";
import { VirtualMachinesController } from "./controller.ts";
import { vmDefinitions } from "./crds.ts";
import type { VirtualMachineFacts, VirtualMachineHost } from "./host.ts";
import { launcherPod, machineRequest, shouldRun, sizeOf } from "./plan.ts";
import { Restarts } from "./restarts.ts";
import {
  instanceTypes,
  REVERT_ANNOTATION,
  RUNNING_GATE,
  virtualMachines,
  vmBackups,
  vmSnapshots,
  type VirtualMachine,
} from "./types.ts";

type Facts = { -readonly [K in keyof VirtualMachineFacts]: VirtualMachineFacts[K] };

/** Machines as entries of a map. */
class FakeHost implements VirtualMachineHost {
  readonly machines = new Map<string, Facts>();
  readonly calls: string[] = [];
  readonly requests: vm.CreateVmRequest[] = [];
  /** Thrown by the next `start`. */
  refusal: Error | undefined;
  based = false;
  #listener: (name: string) => void = () => {};

  async find(name: string) {
    return this.machines.get(name);
  }
  async create(request: vm.CreateVmRequest) {
    this.requests.push(request);
    this.calls.push("create");
    const { name, cpus = 1, memoryBytes = 0 } = request;
    this.machines.set(name, { name, state: "created", cpus, memoryBytes });
  }
  async restore(id: string, name: string) {
    this.calls.push(`restore ${id}`);
    this.machines.set(name, { name, state: "stopped", cpus: 1, memoryBytes: 512 * MiB });
  }
  async resize(name: string, size: { cpus: number; memoryBytes: number }) {
    this.calls.push("resize");
    Object.assign(this.machines.get(name)!, size);
  }
  async start(name: string, place: { netnsPath: string }) {
    this.calls.push("start");
    const refusal = this.refusal;
    this.refusal = undefined;
    if (refusal) throw refusal;
    const machine = this.machines.get(name)!;
    delete machine.finishedMs;
    delete machine.reason;
    Object.assign(machine, { state: "running", netnsPath: place.netnsPath, startedMs: 0 });
  }
  async stop(name: string) {
    const machine = this.machines.get(name);
    if (machine?.state !== "running") return;
    this.calls.push("stop");
    machine.state = "stopped";
  }
  async remove(name: string) {
    if (this.machines.delete(name)) this.calls.push("remove");
  }
  async snapshot(_name: string, snapshot: string) {
    this.calls.push(`snapshot ${snapshot.slice(0, 2)}`);
    return { name: snapshot, createdMs: 0, memory: true, description: "", current: true };
  }
  async removeSnapshot() {
    this.calls.push("removeSnapshot");
  }
  async revert() {
    this.calls.push("revert");
  }
  async backup(name: string, full: boolean): Promise<vm.VmBackup> {
    this.calls.push(`backup ${full}`);
    return { id: "b1", vm: name, kind: "full", createdMs: 0, consistency: "off", disks: [] };
  }
  async removeBackup() {
    if (this.based) throw failedPrecondition("the backup b1 is what b2 is based on");
    this.calls.push("removeBackup");
  }
  podNamespace = (_node: string, podUid: string) => `/run/netns/${podUid}`;
  launcherImage = async () => "launcher:v1";
  onChange(listener: (name: string) => void) {
    this.#listener = listener;
  }
  /** A machine ends by itself. */
  end(name: string, change: Partial<Facts>) {
    Object.assign(this.machines.get(name)!, change);
    this.#listener(name);
  }
  get only(): Facts {
    assert.equal(this.machines.size, 1);
    return [...this.machines.values()][0]!;
  }
}

const machine = (spec: Partial<VirtualMachine["spec"]> = {}, template: object = {}): VirtualMachine => ({
  apiVersion: "vm.berth.dev/v1alpha1",
  kind: "VirtualMachine",
  metadata: { name: "web", namespace: "default" },
  spec: {
    template: { metadata: { labels: { app: "web" } }, spec: { source: { image: "nginx" }, ...template } },
    ...spec,
  },
});

async function world() {
  const clock = new FakeClock();
  const api = new FakeApi({ clock });
  const client = new KubeClient(api.handler, { user: testUser });
  const ctx = { clock, random: seededRandom(1), log: silentLogger, instance: "t", dataDir: "/", runtimeDir: "/" };
  const informers = new InformerFactory({ ...ctx, client });
  const host = new FakeHost();
  const controller = new VirtualMachinesController(ctx, { client, informers, host });
  controller.start();
  const rest = (ms = 1_000) => clock.advance(ms);
  await rest(5_000);
  const vms = client.of(virtualMachines);
  const pods = client.of(resources.pods);
  const ref = { name: "web", namespace: "default" };
  const pod = async (): Promise<Stored<k8s.Pod> | undefined> => (await pods.list()).items[0];
  const look = async () => (await vms.get(ref)).status!;
  /** What scheduler and kubelet do with the launcher. */
  const runPod = async () => {
    const found = (await pod())!;
    await pods.update({ ...found, spec: { ...found.spec!, nodeName: "n1" } });
    await pods.patch(found.metadata, { status: { phase: "Running", podIP: "10.1.0.2" } }, { subresource: "status" });
    await rest();
  };
  const removePod = async () => {
    await pods.delete((await pod())!.metadata, { gracePeriodSeconds: 0 });
    await rest();
  };
  const create = async (object: VirtualMachine) => {
    await vms.create(object);
    await rest();
  };
  const patch = async (change: object) => {
    await vms.patch(ref, change);
    await rest();
  };
  return { clock, client, host, controller, rest, vms, ref, pod, look, runPod, removePod, create, patch };
}

test("a machine is made when its launcher runs, on its network, and is Ready with it", async () => {
  const { create, look, host, runPod, pod, client, rest, ref } = await world();
  await create(machine({}, { cpu: { cores: 2 }, memory: { guest: "1Gi" } }));
  assert.deepEqual([(await look()).printableStatus, host.calls], ["Scheduling", []]);
  await runPod();
  const { uid } = (await pod())!.metadata;
  assert.deepEqual(host.calls, ["create", "start"]);
  assert.equal(host.only.netnsPath, `/run/netns/${uid}`);
  const { printableStatus, ready, ipAddress, nodeName, cpu, memory } = await look();
  assert.deepEqual(
    { printableStatus, ready, ipAddress, nodeName, cpu, memory },
    { printableStatus: "Running", ready: false, ipAddress: "10.1.0.2", nodeName: "n1", cpu: 2, memory: "1Gi" },
  );
  assert.equal((await pod())!.status?.conditions?.find(({ type }) => type === RUNNING_GATE)?.status, "True");
  const conditions = ["Ready", RUNNING_GATE].map((type) => ({ type, status: "True" }));
  const found = (await pod())!;
  await client.of(resources.pods).updateStatus({ ...found, status: { ...found.status, conditions } as never });
  await rest();
  assert.equal((await look()).ready, true);
  assert.equal((await client.of(virtualMachines).get(ref)).metadata.finalizers?.length, 1);
});

test("why a launcher has no node is the machine's status", async () => {
  const { create, look, pod, client, rest, host } = await world();
  await create(machine());
  const condition = { type: "PodScheduled", status: "False", reason: "Unschedulable", message: "0/1 nodes" };
  const found = (await pod())!;
  await client.of(resources.pods).updateStatus({ ...found, status: { conditions: [condition] } as never });
  await rest();
  const { printableStatus, conditions } = await look();
  assert.deepEqual([printableStatus, conditions![0]!.message, host.calls], ["Unschedulable", "0/1 nodes", []]);
});

test("one that crashes is started again, at once and then ever later, and says its last line", async () => {
  const { create, look, runPod, host, rest, clock } = await world();
  await create(machine());
  await runPod();
  const crash = () =>
    host.end(host.only.name, {
      state: "crashed",
      reason: "its monitor ended with 1",
      lastLine: "panic",
      finishedMs: clock.nowMs(),
      startedMs: clock.nowMs() - 1_000,
    });
  crash();
  await rest(100);
  assert.deepEqual([host.only.state, (await look()).restarts], ["running", 1]);
  crash();
  await rest(100);
  const { printableStatus, conditions } = await look();
  assert.equal(printableStatus, "CrashLoopBackOff");
  assert.equal(conditions![0]!.message, "its monitor ended with 1; last on the console: panic");
  await rest(9_000);
  assert.equal(host.only.state, "crashed");
  await rest(2_000);
  assert.deepEqual([host.only.state, (await look()).restarts], ["running", 2]);
});

test("delays double up to five minutes, and begin anew after a long run", () => {
  const restarts = new Restarts();
  const delays = [1, 2, 3, 4].map((endMs) => restarts.ended("a", endMs, 5) - endMs);
  assert.deepEqual(delays, [0, 10_000, 20_000, 40_000]);
  assert.equal(restarts.ended("a", 4, 5) - 4, 40_000);
  for (let end = 5; end < 20; end++) restarts.ended("a", end, 5);
  assert.equal(restarts.ended("a", 20, 5) - 20, 300_000);
  assert.equal(restarts.ended("a", 21, 600_000) - 21, 0);
});

test("by strategy: what ended well stays ended, what is halted gives its Pod back", async () => {
  const over: VirtualMachineFacts = {
    name: "x",
    state: "stopped",
    reason: "the guest shut down",
    finishedMs: 1,
    cpus: 1,
    memoryBytes: 1,
  };
  const done = (runStrategy: "Always" | "RerunOnFailure" | "Once", facts: Partial<Facts> = {}) =>
    shouldRun(
      { ...machine({ runStrategy }), metadata: { generation: 1 }, status: { observedGeneration: 1 } },
      { ...over, ...facts },
    );
  assert.deepEqual([done("Always"), done("RerunOnFailure"), done("Once")], [true, false, false]);
  const crashed = { state: "crashed" } as const;
  assert.deepEqual([done("RerunOnFailure", crashed), done("Once", crashed)], [true, false]);

  const { create, look, runPod, host, pod, patch, removePod } = await world();
  await create(machine());
  await runPod();
  await patch({ spec: { running: false } });
  assert.deepEqual(host.calls, ["create", "start", "stop"]);
  assert.equal((await pod())!.metadata.deletionGracePeriodSeconds, 1);
  await removePod();
  assert.deepEqual([(await look()).printableStatus, (await look()).ipAddress], ["Stopped", undefined]);
  await patch({ spec: { running: true } });
  await runPod();
  assert.deepEqual(host.calls, ["create", "start", "stop", "start"]);
});

test("a launcher that is deleted takes its machine to another Pod, on the same disks", async () => {
  const { create, runPod, host, pod, client, rest, look } = await world();
  await create(machine());
  await runPod();
  const first = (await pod())!.metadata;
  await client.of(resources.pods).delete(first);
  await rest();
  assert.deepEqual(host.calls, ["create", "start", "stop"]);
  await runPod();
  assert.notEqual((await pod())!.metadata.uid, first.uid);
  assert.deepEqual(host.calls, ["create", "start", "stop", "start"]);
  assert.equal((await look()).printableStatus, "Running");
});

test("deleting one ends machine and Pod before it is gone", async () => {
  const { create, runPod, host, pod, vms, ref, rest } = await world();
  await create(machine());
  await runPod();
  await vms.delete(ref);
  await rest();
  assert.deepEqual(host.calls.slice(2), ["stop", "remove"]);
  assert.ok((await pod())!.metadata.deletionTimestamp);
  await assert.rejects(vms.get(ref), /not found/);
});

test("sizes come from instance types; a new one is taken at the next start", async () => {
  const { create, look, client, rest, runPod, host, patch, removePod } = await world();
  await create(machine({ instancetype: { name: "small" } }));
  assert.match((await look()).conditions![0]!.message, /no instance type small/);
  const type = { metadata: { name: "small" }, spec: { cpu: { guest: 2 }, memory: { guest: "256Mi" } } };
  const types = client.of(instanceTypes);
  await types.create(type);
  await rest();
  await runPod();
  assert.deepEqual([host.only.cpus, host.only.memoryBytes], [2, 256 * MiB]);
  await types.patch({ name: "small" }, { spec: { cpu: { guest: 4 } } });
  await rest();
  assert.ok((await look()).conditions!.some((condition) => condition.type === "RestartRequired"));
  await patch({ spec: { running: false } });
  await removePod();
  await patch({ spec: { running: true } });
  await runPod();
  assert.deepEqual([host.only.cpus, host.calls.slice(-2)], [4, ["resize", "start"]]);
});

test("what the hypervisor refuses is told, and tried again", async () => {
  const { create, look, runPod, host, rest } = await world();
  host.refusal = failedPrecondition("the host has 3 MiB left");
  await create(machine());
  await runPod();
  await rest(100);
  assert.equal(host.calls.filter((call) => call === "start").length, 2);
  assert.equal((await look()).printableStatus, "Running");
});

test("snapshots and backups of a machine, going back, and a machine from a backup", async () => {
  const { create, runPod, host, client, rest, patch, vms, ref } = await world();
  await create(machine());
  await runPod();
  const copy = { metadata: { name: "c", namespace: "default" }, spec: { source: { name: "web" } } };
  await client.of(vmSnapshots).create(copy);
  await client.of(vmBackups).create(copy);
  await rest();
  assert.deepEqual(host.calls.slice(2).sort(), ["backup false", "snapshot k-"]);
  const at = { name: "c", namespace: "default" };
  assert.equal((await client.of(vmSnapshots).get(at)).status?.phase, "Succeeded");
  assert.equal((await client.of(vmBackups).get(at)).status?.backup, "b1");

  await patch({ metadata: { annotations: { [REVERT_ANNOTATION]: "c" } } });
  assert.equal(host.calls.at(-1), "revert");
  assert.equal((await vms.get(ref)).metadata.annotations?.[REVERT_ANNOTATION], undefined);

  host.based = true;
  await client.of(vmBackups).delete(at);
  await client.of(vmSnapshots).delete(at);
  await rest();
  assert.match((await client.of(vmBackups).get(at)).status!.message!, /based on/);
  host.based = false;
  await rest(11_000);
  await assert.rejects(client.of(vmBackups).get(at), /not found/);
  await assert.rejects(client.of(vmSnapshots).get(at), /not found/);
});

test("a machine from a backup waits for it", async () => {
  const { create, runPod, host, client, look, rest } = await world();
  const backups = client.of(vmBackups);
  const at = { name: "b", namespace: "default" };
  await backups.create({ metadata: at, spec: { source: { name: "gone" } } });
  const restored = machine();
  await create({ ...restored, spec: { template: { spec: { source: { backup: "b" } } } } });
  await runPod();
  assert.match((await look()).conditions![0]!.message, /not complete/);
  await backups.patch(at, { status: { phase: "Succeeded", backup: "b9" } }, { subresource: "status" });
  await rest(12_000);
  assert.deepEqual(host.calls.slice(0, 2), ["restore b9", "start"]);
});

test("user data comes from a Secret or ConfigMap", async () => {
  const { create, runPod, host, client } = await world();
  const data = { seed: Buffer.from("#cloud-config").toString("base64") };
  await client.of(resources.secrets).create({ metadata: { name: "s", namespace: "default" }, data });
  await create(machine({}, { userDataFrom: { secretKeyRef: { name: "s", key: "seed" } } }));
  await runPod();
  assert.equal(host.requests[0]!.userData, "#cloud-config");
});

test("the launcher asks for what the machine needs, and for a node that can hold it", () => {
  const stored = { ...machine({}, { nodeSelector: { disk: "fast" }, resources: { requests: { cpu: "500m" } } }) };
  const one = {
    ...stored,
    metadata: { ...stored.metadata, name: "web", uid: "u", resourceVersion: "1" },
  } as Stored<VirtualMachine>;
  const size = sizeOf(one, undefined)!;
  const { spec, metadata } = launcherPod(one, size, "image");
  assert.deepEqual(spec!.containers[0]!.resources, {
    requests: { cpu: "500m", memory: "640Mi" },
    limits: { cpu: "1", memory: "640Mi" },
  });
  assert.equal(metadata!.labels!["app"], "web");
  assert.deepEqual(spec!.nodeSelector, { disk: "fast" });
  const request = machineRequest(one, size, undefined);
  assert.deepEqual([request.source, request.name, request.networks], ["oci:nginx", "default.web.u", []]);
});

test("each kind has columns, a status of its own and rules", () => {
  const byKind = new Map(vmDefinitions().map((one) => [one.spec.names.kind, one]));
  assert.deepEqual([...byKind.keys()].length, 4);
  assert.deepEqual(byKind.get("VirtualMachine")!.spec.names.shortNames, ["vm", "vms"]);
  const columns = byKind.get("VirtualMachine")!.spec.versions[0]!.additionalPrinterColumns!;
  assert.deepEqual(
    columns.map(({ name }) => name),
    ["Status", "Ready", "Node", "IP", "CPU", "Memory", "Age"],
  );
});
