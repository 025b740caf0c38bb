/** Storage drivers and device plugins that register with the node: claims and inline volumes of a CSI driver, devices in containers. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { PLUGIN_PROTOS } from "../../src/api/index.ts";
import { systemClock } from "../../src/base/index.ts";
import { GrpcConnection, type Wire } from "../../src/node/grpc/index.ts";
import { CSI_DRIVER, startCsiDriver, type CsiTestDriver } from "../support/csi-driver.ts";
import { DRA_DRIVER, startDraDriver, type DraTestDriver } from "../support/dra-driver.ts";
import { startDevicePlugin, type TestDevicePlugin } from "../support/device-plugin.ts";
import { podOf, startPods, type PodTests } from "../support/pods.ts";

const RESOURCE = "test.berth.dev/widget";
/** One that containers can't open unless they are allowed to. */
const HOST_DEVICE = ["/dev/net/tun", "/dev/fuse", "/dev/loop-control", "/dev/kvm"].find((file) => existsSync(file))!;
const CDI_SPEC = `/var/run/cdi/berth-test-${process.pid}.json`;
const CDI_KIND = `test.berth.dev/cdi-${process.pid}`;

let k: PodTests;
let driver: CsiTestDriver;
let plugin: TestDevicePlugin;
let dra: DraTestDriver;
before(async () => {
  k = await startPods();
  driver = await startCsiDriver(path.join(k.berth.runtimeDir, "kubelet"), path.join(k.berth.directory, "csi"));
});
after(async () => {
  await driver?.stop();
  await plugin?.stop();
  dra?.stop();
  rmSync(CDI_SPEC, { force: true });
  await k?.berth.stop();
});

const FOREVER = "trap 'exit 0' TERM; while :; do sleep 0.1; done";

async function eventually(what: string, check: () => unknown): Promise<void> {
  const deadline = Date.now() + 30_000;
  while (!(await Promise.resolve(check()))) {
    assert.ok(Date.now() < deadline, `${what}\n${driver.calls.join("\n")}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

interface CsiNode {
  spec: { drivers: Array<{ name: string; nodeID: string; topologyKeys: string[]; allocatable: { count: number } }> };
}
interface NodeObject {
  metadata: { name: string; labels: Record<string, string> };
  status: {
    capacity: Record<string, string>;
    allocatable: Record<string, string>;
    volumesInUse?: string[];
    volumesAttached?: Array<{ name: string }>;
  };
}
interface Claim {
  status: { phase: string; capacity: { storage: string }; conditions?: unknown[] };
}
interface List<T> {
  items: T[];
}

const node = async () => (JSON.parse(await k.kubectl("get", "nodes", "-o", "json")) as List<NodeObject>).items[0]!;

function claimOf(name: string, volumeMode = "Filesystem"): object[] {
  const common = { accessModes: ["ReadWriteOnce"], storageClassName: "", volumeMode };
  return [
    {
      apiVersion: "v1",
      kind: "PersistentVolume",
      metadata: { name },
      spec: {
        ...common,
        capacity: { storage: "64Mi" },
        claimRef: { namespace: "default", name },
        csi: { driver: CSI_DRIVER, volumeHandle: `handle-${name}`, fsType: "ext4", volumeAttributes: { kind: "fast" } },
      },
    },
    {
      apiVersion: "v1",
      kind: "PersistentVolumeClaim",
      metadata: { name },
      spec: { ...common, volumeName: name, resources: { requests: { storage: "64Mi" } } },
    },
  ];
}

const using = (pod: string, claim: string, script: string, spec: object = {}) =>
  podOf(
    pod,
    script,
    { volumes: [{ name: "data", persistentVolumeClaim: { claimName: claim } }], ...spec },
    { volumeMounts: [{ name: "data", mountPath: "/data" }] },
  );

const csiDriver = (spec: object) => ({
  apiVersion: "storage.k8s.io/v1",
  kind: "CSIDriver",
  metadata: { name: CSI_DRIVER },
  spec: { podInfoOnMount: true, volumeLifecycleModes: ["Persistent", "Ephemeral"], ...spec },
});

test("a CSI driver registers: CSINode and the node's labels say so", async () => {
  await eventually("the driver to be told", () => driver.registered);
  assert.deepEqual(driver.registered, { pluginRegistered: true, error: "" });
  const { metadata } = await node();
  const { spec } = await k.get<CsiNode>("csinode", metadata.name);
  assert.deepEqual(spec.drivers, [
    { name: CSI_DRIVER, nodeID: "test-node-1", topologyKeys: ["topology.test.csi/zone"], allocatable: { count: 7 } },
  ]);
  await eventually("the label", async () => (await node()).metadata.labels["topology.test.csi/zone"] === "z1");
});

test("what a manifest calls the kubelet's folder is this node's", async () => {
  const volumes = [{ name: "registry", hostPath: { path: "/var/lib/kubelet/plugins_registry", type: "Directory" } }];
  const volumeMounts = [{ name: "registry", mountPath: "/registry" }];
  await k.apply(podOf("registrar", "ls /registry", { volumes }, { volumeMounts }));
  if (!existsSync("/var/lib/kubelet/pods")) assert.equal(await k.finished("registrar"), `${CSI_DRIVER}-reg.sock\n`);
});

test("a claim's volume is attached, staged once, published for each Pod, expanded, and given back", async () => {
  await k.apply(csiDriver({ tokenRequests: [{ audience: "vault" }] }), ...claimOf("attached"));
  await k.apply(
    using("first", "attached", `echo kept > /data/file; ${FOREVER}`, { securityContext: { fsGroup: 1234 } }),
  );
  const attachments = async () =>
    (JSON.parse(await k.kubectl("get", "volumeattachments", "-o", "json")) as List<{ metadata: { name: string } }>)
      .items;
  await eventually("the attachment to be asked for", async () => (await attachments()).length === 1);
  assert.equal(driver.calls.length, 0, "nothing is asked of the node before the volume is attached");
  const inUse = `kubernetes.io/csi/${CSI_DRIVER}^handle-attached`;
  await eventually("the volume to be in use", async () => (await node()).status.volumesInUse?.includes(inUse));
  const [attachment] = await attachments();
  const status = JSON.stringify({ status: { attached: true, attachmentMetadata: { device: "/dev/x" } } });
  await k.kubectl(
    "patch",
    "volumeattachment",
    attachment!.metadata.name,
    "--subresource=status",
    "--type=merge",
    "-p",
    status,
  );
  await k.running("first");
  const file = path.join(driver.folder("handle-attached"), "file");
  await eventually("the file", () => existsSync(file) && readFileSync(file, "utf8") === "kept\n");
  assert.equal(statSync(path.dirname(file)).gid, 1234);
  const [publish] = driver.publishes;
  assert.equal(publish!["volumeContext"]["csi.storage.k8s.io/pod.name"], "first");
  assert.equal(publish!["volumeContext"]["kind"], "fast");
  const tokens = JSON.parse(publish!["volumeContext"]["csi.storage.k8s.io/serviceAccount.tokens"]);
  const { aud, sub } = JSON.parse(Buffer.from(tokens.vault.token.split(".")[1], "base64url").toString());
  assert.deepEqual([aud, sub], [["vault"], "system:serviceaccount:default:default"]);
  assert.deepEqual(publish!["publishContext"], { device: "/dev/x" });
  assert.equal(publish!["volumeCapability"].accessMode.mode, "SINGLE_NODE_WRITER");

  await k.kubectl("patch", "pv", "attached", "--type=merge", "-p", '{"spec":{"capacity":{"storage":"128Mi"}}}');
  const condition = { type: "FileSystemResizePending", status: "True" };
  const pending = JSON.stringify({ status: { conditions: [condition] } });
  await k.kubectl("patch", "pvc", "attached", "--subresource=status", "--type=merge", "-p", pending);
  await k.apply(using("second", "attached", FOREVER));
  await k.running("second");
  await k.until<Claim>(
    "pvc",
    "attached",
    ({ status: { capacity, conditions } }) => capacity.storage === "128Mi" && !conditions?.length,
  );
  assert.equal(await k.exec("second", "cat", "/data/file"), "kept\n");
  const metrics = await k.kubectl("get", "--raw", `/api/v1/nodes/${(await node()).metadata.name}/proxy/metrics`);
  assert.match(
    metrics,
    /^kubelet_volume_stats_used_bytes\{namespace="default",persistentvolumeclaim="attached"\} 300$/m,
  );
  await eventually(
    "the controller's word to stay",
    async () => (await node()).status.volumesAttached?.[0]?.name === inUse,
  );

  await k.apply(using("finishes", "attached", "cat /data/file"));
  assert.equal(await k.finished("finishes"), "kept\n");
  await eventually(
    "the volume of a Pod that has ended to be given back",
    () => driver.calls.filter((call) => call.startsWith("NodeUnpublishVolume")).length === 1,
  );
  await k.kubectl("delete", "pod", "first", "second", "finishes", "--now");
  await eventually("the attachment to go", async () => (await attachments()).length === 0);
  const names = driver.calls.map((call) => call.split(" ")[0]);
  const count = (name: string) => names.filter((one) => one === name).length;
  assert.ok(count("NodeExpandVolume") >= 1);
  assert.equal(count("NodeUnpublishVolume"), 3);
  assert.equal(count("NodeUnstageVolume"), 1);
  assert.equal(names.at(-1), "NodeUnstageVolume");
  assert.deepEqual((await node()).status.volumesInUse ?? [], []);
  assert.equal(readFileSync(file, "utf8"), "kept\n", "the volume's files are the driver's");
});

test("a driver's volume of mode Block is a device in the container", async () => {
  await k.kubectl("delete", "csidriver", CSI_DRIVER);
  await k.apply(csiDriver({ attachRequired: false }), ...claimOf("blocks", "Block"));
  const volumes = [{ name: "disk", persistentVolumeClaim: { claimName: "blocks" } }];
  const container = { volumeDevices: [{ name: "disk", devicePath: "/dev/disk" }] };
  await k.apply(podOf("blocks", "echo kept > /dev/disk && sync && head -c 5 /dev/disk", { volumes }, container));
  assert.equal(await k.finished("blocks"), "kept\n");
  await k.kubectl("delete", "pod", "blocks", "--now");
  assert.equal(driver.calls.at(-1), "NodeUnstageVolume handle-blocks");
  const file = path.join(driver.folder("handle-blocks"), "disk");
  assert.equal(readFileSync(file, "utf8").slice(0, 5), "kept\n");
});

test("an inline volume outlives a killed daemon, and is given back by the next when its Pod went meanwhile", async () => {
  const volumes = [{ name: "data", csi: { driver: CSI_DRIVER, volumeAttributes: { size: "1" } } }];
  await k.apply(
    podOf(
      "inline",
      `echo x > /data/file; ${FOREVER}`,
      { volumes },
      { volumeMounts: [{ name: "data", mountPath: "/data" }] },
    ),
  );
  await k.running("inline");
  const publish = driver.publishes.at(-1)!;
  assert.equal(publish["volumeContext"]["csi.storage.k8s.io/ephemeral"], "true");
  await k.berth.kill();
  await k.berth.start();
  assert.equal(await k.exec("inline", "cat", "/data/file"), "x\n");
  await eventually("the driver to register again", async () => {
    const { metadata } = await node();
    return (await k.get<CsiNode>("csinode", metadata.name)).spec.drivers.length === 1;
  });
  await k.kubectl("delete", "pod", "inline", "--now");
  assert.equal(driver.calls.at(-1), `NodeUnpublishVolume ${publish["volumeId"]}`);
  assert.equal(existsSync(publish["targetPath"]), false);
});

test("a driver that is not there is said, with the way out", async () => {
  await driver.unregister();
  const { metadata } = await node();
  await eventually(
    "CSINode to forget it",
    async () => (await k.get<CsiNode>("csinode", metadata.name)).spec.drivers.length === 0,
  );
  const volumes = [{ name: "data", csi: { driver: CSI_DRIVER } }];
  await k.apply(podOf("without", "true", { volumes }, { volumeMounts: [{ name: "data", mountPath: "/data" }] }));
  const failed = async () => (await k.events("without")).find(({ reason }) => reason === "FailedMount");
  await eventually("the event", failed);
  assert.match(
    (await failed())!.message,
    /driver name test\.csi\.berth\.dev not found in the list of registered CSI drivers \(berth: the driver's node plugin does not run here/,
  );
});

const counted = async (capacity: string, allocatable: string) =>
  k.until<NodeObject>(
    "node",
    (await node()).metadata.name,
    ({ status }) => status.capacity[RESOURCE] === capacity && status.allocatable[RESOURCE] === allocatable,
  );
const wanting = (name: string, count: number, script = FOREVER, spec: object = {}) =>
  podOf(
    name,
    script,
    { ...spec },
    { resources: { limits: { [RESOURCE]: String(count) } }, env: [{ name: "MINE", value: "Pod" }] },
  );

async function podResources(method: string, request: object = {}): Promise<Wire> {
  const service = { proto: PLUGIN_PROTOS.podresources, name: "v1.PodResourcesLister" };
  const socket = `unix://${k.berth.runtimeDir}/kubelet/pod-resources/kubelet.sock`;
  const connection = new GrpcConnection(socket, service, systemClock);
  try {
    return await connection.call(method, request);
  } finally {
    connection.close();
  }
}

test("the node counts a plugin's devices, with their health", async () => {
  mkdirSync(path.dirname(CDI_SPEC), { recursive: true });
  const edits = { env: ["BY_CDI=yes"] };
  writeFileSync(
    CDI_SPEC,
    JSON.stringify({ cdiVersion: "0.6.0", kind: CDI_KIND, devices: [{ name: "x", containerEdits: edits }] }),
  );
  const shared = path.join(k.berth.directory, "shared");
  writeFileSync(shared, "from the plugin\n");
  plugin = await startDevicePlugin({
    kubeletDir: path.join(k.berth.runtimeDir, "kubelet"),
    resource: RESOURCE,
    devices: ["a", "b"],
    edits: (ids) => ({
      envs: { WIDGETS: ids.join(), MINE: "plugin" },
      mounts: [{ containerPath: "/shared", hostPath: shared, readOnly: true }],
      devices: ids.map((id) => ({ containerPath: `/dev/widget-${id}`, hostPath: HOST_DEVICE, permissions: "rw" })),
      annotations: { "test.berth.dev/given": ids.join() },
      cdiDevices: [{ name: `${CDI_KIND}=x` }],
    }),
  });
  await counted("2", "2");
  plugin.health("a", "Unhealthy");
  await counted("2", "1");
  plugin.health("a", "Healthy");
  await counted("2", "2");
});

test("a container gets its devices, and what the plugin says belongs to them", async () => {
  await k.apply(
    wanting(
      "one",
      1,
      `exec 3<>/dev/widget-b && echo opened; echo $WIDGETS $MINE $BY_CDI; cat /shared; ls -d /dev/widget-*`,
    ),
  );
  assert.equal(await k.finished("one"), "opened\nb Pod yes\nfrom the plugin\n/dev/widget-b\n");
  assert.deepEqual(plugin.calls.splice(0), ["Allocate b", "PreStartContainer b"], "the one that the plugin preferred");
});

test("devices outlive a killed daemon, and nobody gets one twice", async () => {
  await k.apply(wanting("keeps", 1));
  await k.running("keeps");
  await k.berth.kill();
  await k.berth.start();
  await counted("0", "0");
  await plugin.register();
  await counted("2", "2");
  await k.apply(wanting("second", 1, "echo $WIDGETS"));
  assert.equal(await k.finished("second"), "a\n");
  // Bound by hand: a scheduler would have it wait.
  await k.apply(wanting("third", 2, "true", { nodeName: (await node()).metadata.name }));
  const { status } = await k.until("pod", "third", (pod) => pod.status.phase === "Failed");
  assert.equal(status.reason, "UnexpectedAdmissionError");
  assert.equal(
    status.message,
    `Pod was rejected: Allocate failed due to requested number of devices unavailable for ${RESOURCE}. Requested: 2, Available: 1, which is unexpected`,
  );
  assert.ok((await k.events("third")).some(({ reason }) => reason === "UnexpectedAdmissionError"));
});

test("exporters read who has what", async () => {
  const { podResources: list } = await podResources("List");
  const keeps = (list as Wire[]).find(({ name }) => name === "keeps")!;
  const devices = [{ resourceName: RESOURCE, deviceIds: ["b"], topology: { nodes: [{ ID: 0 }] } }];
  assert.deepEqual(keeps["containers"][0].devices, devices);
  const { podResources: got } = await podResources("Get", { podName: "keeps", podNamespace: "default" });
  assert.deepEqual(got.containers[0].devices, devices);
  const { devices: all } = await podResources("GetAllocatableResources");
  assert.deepEqual(all[0].deviceIds, ["a", "b"]);
  await assert.rejects(
    podResources("Get", { podName: "nobody", podNamespace: "default" }),
    /pod nobody in namespace default not found/,
  );
  await k.kubectl("delete", "pod", "keeps", "--now");
  await k.apply(wanting("both", 2, "echo $WIDGETS"));
  assert.equal(await k.finished("both"), "b,a\n");
});

test("a claim of dynamic resources is prepared for its Pod, reaches the container by CDI, and is given back", async () => {
  dra = await startDraDriver(path.join(k.berth.runtimeDir, "kubelet"), k.berth.directory, [`${CDI_KIND}=x`]);
  await k.apply(
    {
      apiVersion: "resource.k8s.io/v1",
      kind: "ResourceClaim",
      metadata: { name: "gpu" },
      spec: { devices: { requests: [{ name: "one", exactly: { deviceClassName: "test" } }] } },
    },
    podOf(
      "claims",
      `echo $BY_CDI; ${FOREVER}`,
      { nodeName: (await node()).metadata.name, resourceClaims: [{ name: "mine", resourceClaimName: "gpu" }] },
      { resources: { claims: [{ name: "mine" }] } },
    ),
  );
  const { metadata } = await k.get("pod", "claims");
  await eventually("the reason why it waits", async () =>
    (await k.events("claims")).some(
      ({ reason, message }) =>
        reason === "FailedPrepareDynamicResources" && message.includes("is not allowed to use ResourceClaim gpu"),
    ),
  );
  assert.deepEqual(dra.calls, []);
  const result = { request: "one", driver: DRA_DRIVER, pool: "pool", device: "d0" };
  const status = {
    allocation: { devices: { results: [result] } },
    reservedFor: [{ resource: "pods", name: "claims", uid: metadata.uid }],
  };
  const patch = JSON.stringify({ status });
  await k.kubectl("patch", "resourceclaim", "gpu", "--subresource=status", "--type=merge", "-p", patch);
  await k.running("claims");
  assert.equal(await k.kubectl("logs", "claims"), "yes\n");
  const { podResources: got } = await podResources("Get", { podName: "claims", podNamespace: "default" });
  assert.equal(got.containers[0].dynamicResources[0].claimResources[0].deviceName, "d0");
  await k.kubectl("delete", "pod", "claims", "--now");
  assert.deepEqual(dra.calls, ["NodePrepareResources gpu", "NodeUnprepareResources gpu"]);
});

test("a claim of a template is allocated from what the driver offers, and gone with its Pod", async () => {
  const { metadata } = await node();
  const one = { requests: [{ name: "one", exactly: { deviceClassName: "test" } }] };
  const selectors = [{ cel: { expression: `device.driver == "${DRA_DRIVER}"` } }];
  const device = { name: "d0", attributes: { model: { string: "test" } } };
  const pool = { name: "pool", generation: 1, resourceSliceCount: 1 };
  const group = { apiVersion: "resource.k8s.io/v1" };
  await k.apply(
    { ...group, kind: "DeviceClass", metadata: { name: "test" }, spec: { selectors } },
    {
      ...group,
      kind: "ResourceSlice",
      metadata: { name: "test" },
      spec: { driver: DRA_DRIVER, nodeName: metadata.name, pool, devices: [device] },
    },
    { ...group, kind: "ResourceClaimTemplate", metadata: { name: "each" }, spec: { spec: { devices: one } } },
  );
  const resourceClaims = [{ name: "mine", resourceClaimTemplateName: "each" }];
  const resources = { claims: [{ name: "mine", request: "one" }] };
  await k.apply(podOf("first-of-two", `echo $BY_CDI; ${FOREVER}`, { resourceClaims }, { resources }));
  await k.running("first-of-two");
  assert.equal(await k.kubectl("logs", "first-of-two"), "yes\n");
  // The one device is taken until then.
  await k.apply(podOf("second-of-two", "echo $BY_CDI", { resourceClaims }, { resources }));
  await eventually("the scheduler's word", async () =>
    (await k.events("second-of-two")).some(({ reason }) => reason === "FailedScheduling"),
  );
  await k.kubectl("delete", "pod", "first-of-two", "--now");
  assert.equal(await k.finished("second-of-two"), "yes\n");
  await k.kubectl("delete", "pod", "second-of-two", "--now");
  await eventually(
    "the claims that were made for the Pods to go",
    async () => (await k.kubectl("get", "resourceclaims", "-o", "name")).trim() === "resourceclaim.resource.k8s.io/gpu",
  );
});
