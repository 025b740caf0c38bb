import os from "node:os";
import path from "node:path";
import { buffer } from "node:stream/consumers";
import type { k8s, vm } from "../../api/index.ts";
import { deadlineExceeded, internal, systemClock } from "../../base/index.ts";
import { resourcePath, resources, type KubeClient } from "../../client/index.ts";
import { vmPath, PREFIX } from "../commands/vm.ts";
import { wait } from "../daemon-process.ts";
import { SocketClient } from "../http.ts";
import type { Instance } from "../instance.ts";
import { connect } from "../kubernetes/connection.ts";
import { demultiplex } from "../session.ts";
import { ask, runApp } from "./docker.ts";
import type { Story } from "./story.ts";

const APP = { name: "flask-app", namespace: "default" };
const MACHINE = "flask-machine";
const CONTAINER_PORT = 5001;
const MACHINE_PORT = 5002;
/** Without hardware virtualization a machine takes its time. */
const BOOT_TIMEOUT_MS = 300_000;
const POLL_MS = 200;

/** The third act, when it is asked for: the same image with kernels of its own, as container, as machine and as Pods. */
export async function vmAct(story: Story, instance: Instance): Promise<void> {
  const engine = new SocketClient(instance.dockerSocket);
  story.say(`Virtual machines. The same image with another kernel than this machine's, which is ${os.release()}.`);
  await asContainer(story, engine);
  await asMachine(story, new SocketClient(path.join(instance.runtimeDir, "vm.sock")));
  const cluster = await connect(instance.kubeconfig);
  try {
    await asPods(story, cluster.client);
  } finally {
    cluster.close();
  }
}

async function asContainer(story: Story, engine: SocketClient): Promise<void> {
  const name = "flask-vm";
  await story.act(`docker run -d --name ${name} --runtime vm -p ${CONTAINER_PORT}:5000 flask-app`, () =>
    runApp(engine, { name, port: CONTAINER_PORT, runtime: "vm" }),
  );
  await story.act(`curl http://localhost:${CONTAINER_PORT}/`, () =>
    ask(`http://localhost:${CONTAINER_PORT}/`, BOOT_TIMEOUT_MS),
  );
  await story.act(`docker exec ${name} uname -r`, async () => another(await execute(engine, name, ["uname", "-r"])));
  await story.act(`docker rm -f ${name}`, async () => {
    await engine.json("DELETE", `/containers/${name}`, { query: { force: true } });
    return name;
  });
}

async function asMachine(story: Story, machines: SocketClient): Promise<void> {
  story.say("A whole machine of it: its file system becomes a disk, its program is started by the machine's own init.");
  await story.act(`berth vm run oci:flask-app --name ${MACHINE} -p ${MACHINE_PORT}:5000 --wait`, async () => {
    const request: vm.CreateVmRequest = {
      name: MACHINE,
      source: "oci:flask-app",
      ports: [{ guestPort: 5000, protocol: "tcp", hostPort: MACHINE_PORT }],
    };
    await machines.json("POST", `${PREFIX}/vms`, { json: request });
    await machines.json("POST", vmPath(MACHINE, "/start"));
    await machines.json("POST", vmPath(MACHINE, "/wait"));
    return MACHINE;
  });
  await story.act(`curl http://localhost:${MACHINE_PORT}/`, () =>
    ask(`http://localhost:${MACHINE_PORT}/`, BOOT_TIMEOUT_MS),
  );
  await story.act(`berth vm exec ${MACHINE} uname -r`, async () => {
    const json: vm.VmExecRequest = { args: ["uname", "-r"] };
    const { stdout } = await machines.json<vm.VmExecResult>("POST", vmPath(MACHINE, "/exec"), { json });
    return another(Buffer.from(stdout, "base64").toString());
  });
  await story.act(`berth vm rm -f ${MACHINE}`, async () => {
    await machines.json("DELETE", vmPath(MACHINE), { query: { force: true } });
    return MACHINE;
  });
}

async function asPods(story: Story, client: KubeClient): Promise<void> {
  story.say("One field moves the Deployment's Pods into machines of their own, one after the other.");
  const patch = { spec: { template: { spec: { runtimeClassName: "vm" } } } };
  await story.act(`kubectl patch deployment flask-app -p '${JSON.stringify(patch)}'`, async () => {
    await client.of(resources.deployments).patch(APP, patch, { fieldManager: "berth-demo" });
    return "deployment.apps/flask-app patched";
  });
  await story.act("kubectl rollout status deployment/flask-app", async () => {
    await until("the Deployment's new Pods", async () => isRolledOut(await client.of(resources.deployments).get(APP)));
    return 'deployment "flask-app" successfully rolled out';
  });
  const overrides = { spec: { runtimeClassName: "vm" } };
  const kernel = { name: "kernel", namespace: APP.namespace };
  const command = `kubectl run kernel --image=flask-app --restart=Never --overrides='${JSON.stringify(overrides)}' -- uname -r`;
  await story.act(command, async () => {
    const container: k8s.Container = { name: "kernel", image: "flask-app", args: ["uname", "-r"] };
    const spec = { ...overrides.spec, restartPolicy: "Never", containers: [container] };
    await client.of(resources.pods).create({ metadata: kernel, spec });
    return "pod/kernel created";
  });
  await story.act("kubectl logs kernel", async () => {
    const done = async () => (await client.of(resources.pods).get(kernel)).status?.phase === "Succeeded";
    await until("the Pod to end", done);
    const logs = resourcePath(resources.pods, kernel.namespace, kernel.name, "log");
    const answer = await client.send({ method: "GET", path: logs, headers: { accept: "*/*" } });
    return another(Buffer.from(answer.body ?? "").toString());
  });
}

function isRolledOut({ metadata, spec, status }: k8s.Deployment): boolean {
  const wanted = spec?.replicas ?? 1;
  return (
    (status?.observedGeneration ?? 0) >= (metadata?.generation ?? 0) &&
    status?.replicas === wanted &&
    status.updatedReplicas === wanted &&
    status.availableReplicas === wanted
  );
}

/** The release, when it is not this machine's. */
function another(output: string): string {
  const release = output.trim();
  if (release === "" || release === os.release()) throw internal(`"${release}" is this machine's kernel`);
  return release;
}

async function execute(engine: SocketClient, container: string, Cmd: readonly string[]): Promise<string> {
  const json = { AttachStdout: true, AttachStderr: true, Cmd };
  const { Id } = await engine.json<{ Id: string }>("POST", `/containers/${container}/exec`, { json });
  const { PassThrough } = await import("node:stream");
  const output = new PassThrough();
  const collected = buffer(output);
  await demultiplex(await engine.open("POST", `/exec/${Id}/start`, { json: {} }), output, output);
  output.end();
  return (await collected).toString();
}

async function until(what: string, done: () => Promise<boolean>): Promise<void> {
  const deadlineMs = systemClock.monotonicMs() + BOOT_TIMEOUT_MS;
  while (!(await done())) {
    if (systemClock.monotonicMs() > deadlineMs)
      throw deadlineExceeded(`waited ${BOOT_TIMEOUT_MS / 1000} s for ${what}`);
    await wait(POLL_MS);
  }
}
