import type { k8s } from "../../api/index.ts";
import { failedPrecondition, hasCode, invalidArgument, messageOf, type Clock } from "../../base/index.ts";
import { keyOf, resources, type EventRecorder, type KubeClient, type Lister, type Stored } from "../../client/index.ts";
import type { VirtualMachineFacts, VirtualMachineHost } from "./host.ts";
import {
  graceMs,
  hasShutDown,
  launcherName,
  launcherPod,
  machineName,
  machineRequest,
  shouldRun,
  sizeOf,
  strategyOf,
  type Size,
} from "./plan.ts";
import { Failures, Restarts } from "./restarts.ts";
import { replacing, statusOf, waitingFor, type Observation } from "./status.ts";
import {
  FINALIZER,
  REVERT_ANNOTATION,
  RUNNING_GATE,
  virtualMachines,
  vmBackups,
  type VirtualMachine,
  type VirtualMachineInstanceType,
} from "./types.ts";
import { snapshotNameOf } from "./snapshots.ts";

type Vm = Stored<VirtualMachine>;
type Pod = Stored<k8s.Pod>;
interface Looked extends Observation {
  /** Look again, whatever happens. */
  readonly againMs?: number;
}

const SOON_MS = 500;
/** A Pod's network is taken back when it ends: not before its machine is gone. */
const LAUNCHER_GONE_SECONDS = 1;
const LIVE = new Set(["starting", "running", "paused", "stopping"]);

export interface Parts {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly events: EventRecorder;
  readonly host: VirtualMachineHost;
  readonly vms: Lister<VirtualMachine>;
  readonly types: Lister<VirtualMachineInstanceType>;
  readonly pods: Lister<k8s.Pod>;
}

/** Brings one VirtualMachine's launcher Pod and machine to what it says. The machine's name follows from the object, so that a daemon that starts anew finds it. */
export class MachineReconciler {
  readonly #parts: Parts;
  readonly #restarts = new Restarts();
  readonly #failures = new Failures();

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  async reconcile(key: string, signal: AbortSignal): Promise<{ requeueAfterMs?: number } | void> {
    const vm = this.#parts.vms.get(key);
    if (!vm) return;
    if (vm.metadata.deletionTimestamp) return this.#finish(vm, signal);
    if (!vm.metadata.finalizers?.includes(FINALIZER)) {
      const finalizers = [...(vm.metadata.finalizers ?? []), FINALIZER];
      const { resourceVersion } = vm.metadata;
      await this.#vms.patch(vm.metadata, { metadata: { finalizers, resourceVersion } }, { signal });
      return;
    }
    // Telling of a failure brings the object here again, and is no reason to try at once.
    const waitMs = this.#failures.leftMs(vm, this.#parts.clock.nowMs());
    if (waitMs > 0) return { requeueAfterMs: waitMs };
    const looked = await this.#look(vm, signal).catch((error: unknown) => this.#failed(vm, error));
    await this.#write(vm, looked, signal);
    return looked.againMs === undefined ? undefined : { requeueAfterMs: looked.againMs };
  }

  get #vms() {
    return this.#parts.client.of(virtualMachines);
  }

  /** What can't be done now is said in status and tried again, ever more seldom. */
  #failed(vm: Vm, error: unknown): Looked {
    if (hasCode(error, "canceled")) throw error;
    const nowMs = this.#parts.clock.nowMs();
    const message = messageOf(error);
    this.#parts.events.event(vm, "Warning", "Failed", message);
    return { phase: "Error", message, againMs: this.#failures.add(vm, nowMs) };
  }

  async #look(vm: Vm, signal: AbortSignal): Promise<Looked> {
    const { host, types, pods } = this.#parts;
    const typeName = vm.spec.instancetype?.name ?? "";
    const size = sizeOf(vm, types.get(typeName));
    if (!size) return { phase: "Error", reason: "NoInstanceType", message: `there is no instance type ${typeName}` };
    const machine = await host.find(machineName(vm));
    const pod = pods.get(`${vm.metadata.namespace}/${launcherName(vm)}`);
    const facts = { size, machine, pod };
    if (pod && !isOwn(pod, vm))
      return { ...facts, phase: "Error", message: `there is a Pod ${launcherName(vm)} of somebody else's` };
    if (!shouldRun(vm, machine)) return this.#halt(vm, facts, signal);
    if (pod && isOver(pod)) return { ...facts, ...(await this.#leave(vm, pod, signal)) };
    if (!pod) return { ...facts, ...(await this.#launch(vm, size, signal)) };
    const { nodeName } = pod.spec!;
    if (!nodeName || pod.status?.phase !== "Running") return { ...facts, ...waitingFor(pod) };
    const netnsPath = host.podNamespace(nodeName, pod.metadata.uid);
    if (netnsPath === undefined)
      return { ...facts, phase: "Scheduling", message: "its Pod has no network here yet", againMs: SOON_MS };
    return this.#run(vm, { ...facts, size, pod }, netnsPath, signal);
  }

  async #launch(vm: Vm, size: Size, signal: AbortSignal): Promise<Looked> {
    // A machine outlives its Pod only where that was removed by force.
    await this.#parts.host.stop(machineName(vm), graceMs(vm));
    const image = await this.#parts.host.launcherImage();
    const namespace = vm.metadata.namespace!;
    await this.#parts.client
      .of(resources.pods)
      .create(launcherPod(vm, size, image), { namespace, signal })
      .catch(ignoring("alreadyExists"));
    return { phase: "Scheduling" };
  }

  /** The Pod is going, or has ended: the machine is shut down while it still has its network, and begins anew in another Pod. */
  async #leave(vm: Vm, pod: Pod, signal: AbortSignal): Promise<Looked> {
    await this.#gate(pod, false, signal);
    await this.#parts.host.stop(machineName(vm), graceMs(vm));
    await this.#removePod(pod, signal);
    return { phase: "Stopping", message: "its launcher Pod ends" };
  }

  async #run(
    vm: Vm,
    facts: { size: Size; machine: VirtualMachineFacts | undefined; pod: Pod },
    netnsPath: string,
    signal: AbortSignal,
  ): Promise<Looked> {
    const { host } = this.#parts;
    const name = machineName(vm);
    const { size, machine, pod } = facts;
    if (!machine) {
      await this.#write(vm, { ...facts, phase: "Provisioning" }, signal);
      await this.#create(vm, size, signal);
      this.#parts.events.event(vm, "Normal", "Created", `Made the machine ${name}`);
      return { ...facts, phase: "Starting", againMs: 1 };
    }
    if (LIVE.has(machine.state) && machine.netnsPath !== netnsPath) {
      // The Pod was given another network: its sandbox had to be made anew.
      await host.stop(name, graceMs(vm));
      return { ...facts, phase: "Starting", againMs: 1 };
    }
    const revertTo = vm.metadata.annotations?.[REVERT_ANNOTATION];
    if (revertTo !== undefined) await this.#revert(vm, revertTo, signal);
    else if (!LIVE.has(machine.state)) return this.#start(vm, facts, machine, netnsPath, signal);
    const paused = machine.state === "paused";
    await this.#gate(pod, !paused, signal);
    return { ...facts, phase: paused ? "Paused" : "Running" };
  }

  async #start(
    vm: Vm,
    facts: { size: Size; pod: Pod },
    machine: VirtualMachineFacts,
    netnsPath: string,
    signal: AbortSignal,
  ): Promise<Looked> {
    const { host, clock, events } = this.#parts;
    const { uid, namespace = "" } = vm.metadata;
    let { restarts = 0 } = vm.status ?? {};
    await this.#gate(facts.pod, false, signal);
    if (hasEndedByItself(machine)) {
      const why = whyEnded(machine);
      const seen = this.#restarts.count(uid);
      const notBeforeMs = this.#restarts.ended(uid, machine.finishedMs!, ranMs(machine));
      const againMs = notBeforeMs - clock.nowMs();
      if (this.#restarts.count(uid) !== seen) events.event(vm, "Warning", "Ended", why);
      if (againMs > 0) return { ...facts, machine, phase: "CrashLoopBackOff", message: why, againMs };
      restarts++;
    }
    const { cpus, memoryBytes } = facts.size;
    if (machine.cpus !== cpus || machine.memoryBytes !== memoryBytes)
      await host.resize(machine.name, { cpus, memoryBytes });
    await host.start(machine.name, { netnsPath, namespace });
    this.#failures.forget(vm);
    events.event(vm, "Normal", "Started", `Started on ${facts.pod.spec!.nodeName}`);
    await this.#gate(facts.pod, true, signal);
    return { ...facts, machine: await host.find(machine.name), phase: "Running", restarts };
  }

  async #create(vm: Vm, size: Size, signal: AbortSignal): Promise<void> {
    const { client, host } = this.#parts;
    const { source, imagePullPolicy = "IfNotPresent" } = vm.spec.template.spec;
    if (source.backup === undefined) {
      const request = machineRequest(vm, size, await this.#userData(vm, signal));
      await host.create(request, imagePullPolicy, signal);
      return;
    }
    const { namespace } = vm.metadata;
    const backup = await client.of(vmBackups).get({ name: source.backup, namespace }, { signal });
    if (backup.status?.backup === undefined)
      throw failedPrecondition(`the backup ${source.backup} is not complete: ${backup.status?.phase ?? "Pending"}`);
    await host.restore(backup.status.backup, machineName(vm));
  }

  async #userData(vm: Vm, signal: AbortSignal): Promise<string | undefined> {
    const { userData, userDataFrom } = vm.spec.template.spec;
    const { secretKeyRef, configMapKeyRef } = userDataFrom ?? {};
    const { namespace } = vm.metadata;
    const { client } = this.#parts;
    if (secretKeyRef) {
      const { data } = await client.of(resources.secrets).get({ name: secretKeyRef.name, namespace }, { signal });
      const found = data?.[secretKeyRef.key];
      if (found === undefined) throw missingKey(secretKeyRef, "Secret");
      return Buffer.from(found, "base64").toString();
    }
    if (configMapKeyRef) {
      const { data } = await client.of(resources.configMaps).get({ name: configMapKeyRef.name, namespace }, { signal });
      const found = data?.[configMapKeyRef.key];
      if (found === undefined) throw missingKey(configMapKeyRef, "ConfigMap");
      return found;
    }
    return userData;
  }

  async #revert(vm: Vm, snapshot: string, signal: AbortSignal): Promise<void> {
    const { host, events } = this.#parts;
    try {
      await host.revert(machineName(vm), await snapshotNameOf(this.#parts.client, vm, snapshot, signal));
      events.event(vm, "Normal", "Reverted", `Went back to the snapshot ${snapshot}`);
    } catch (error) {
      if (hasCode(error, "canceled")) throw error;
      events.event(vm, "Warning", "FailedRevert", messageOf(error));
    }
    const annotations = { [REVERT_ANNOTATION]: null };
    await this.#vms.patch(vm.metadata, { metadata: { annotations } }, { signal });
  }

  async #halt(
    vm: Vm,
    facts: { machine: VirtualMachineFacts | undefined; pod: Pod | undefined; size: Size },
    signal: AbortSignal,
  ) {
    const { machine, pod } = facts;
    if (machine && LIVE.has(machine.state)) {
      await this.#write(vm, { ...facts, phase: "Stopping" }, signal);
      if (pod) await this.#gate(pod, false, signal);
      await this.#parts.host.stop(machine.name, graceMs(vm));
      this.#parts.events.event(vm, "Normal", "Stopped", "Stopped the machine");
    }
    if (pod) await this.#removePod(pod, signal);
    const revertTo = vm.metadata.annotations?.[REVERT_ANNOTATION];
    if (revertTo !== undefined && machine) await this.#revert(vm, revertTo, signal);
    const ended = machine && strategyOf(vm) !== "Halted" && hasEndedByItself(machine) ? machine : undefined;
    const message = ended ? whyEnded(ended) : undefined;
    const phase = !ended ? ("Stopped" as const) : hasShutDown(ended) ? ("Succeeded" as const) : ("Error" as const);
    return { ...facts, pod: undefined, phase, ...(message && { message }) };
  }

  async #finish(vm: Vm, signal: AbortSignal): Promise<void> {
    const { host, pods } = this.#parts;
    const { finalizers = [], namespace, uid, resourceVersion } = vm.metadata;
    if (!finalizers.includes(FINALIZER)) return;
    const name = machineName(vm);
    const machine = await host.find(name);
    if (machine && LIVE.has(machine.state)) {
      await this.#write(vm, { phase: "Terminating", machine }, signal);
      await host.stop(name, graceMs(vm));
    }
    await host.remove(name);
    const pod = pods.get(`${namespace}/${launcherName(vm)}`);
    if (pod && isOwn(pod, vm)) await this.#removePod(pod, signal);
    this.#restarts.forget(uid);
    this.#failures.forget(vm);
    const rest = finalizers.filter((one) => one !== FINALIZER);
    await this.#vms
      .patch(vm.metadata, { metadata: { finalizers: rest, resourceVersion } }, { signal })
      .catch(ignoring("notFound"));
  }

  async #removePod(pod: Pod, signal: AbortSignal): Promise<void> {
    const { uid, deletionTimestamp, deletionGracePeriodSeconds: left } = pod.metadata;
    if (deletionTimestamp && left !== undefined && left <= LAUNCHER_GONE_SECONDS) return;
    // Whoever deleted it gave it all of its grace; there is nothing left to wait for.
    const gracePeriodSeconds = deletionTimestamp ? 0 : LAUNCHER_GONE_SECONDS;
    await this.#parts.client
      .of(resources.pods)
      .delete(pod.metadata, { gracePeriodSeconds, preconditions: { uid }, signal })
      .catch(ignoring("notFound", "conflict"));
  }

  /** Services send to the machine only while it runs. */
  async #gate(pod: Pod, open: boolean, signal: AbortSignal): Promise<void> {
    const status = open ? "True" : "False";
    const before = pod.status?.conditions?.find(({ type }) => type === RUNNING_GATE);
    if (before?.status === status || (!before && !open)) return;
    const conditions = [{ type: RUNNING_GATE, status }];
    await this.#parts.client
      .of(resources.pods)
      .patch(pod.metadata, { status: { conditions } }, { kind: "strategic", subresource: "status", signal })
      .catch(ignoring("notFound"));
  }

  async #write(vm: Vm, seen: Observation, signal: AbortSignal): Promise<void> {
    const status = statusOf(vm, seen, this.#parts.clock.nowMs());
    const known = this.#parts.vms.get(keyOf(vm))?.status;
    if (JSON.stringify(known) === JSON.stringify(status)) return;
    await this.#vms
      .patch(vm.metadata, { status: replacing(known, status) }, { subresource: "status", signal })
      .catch(ignoring("notFound"));
  }
}

const isOwn = (pod: Pod, vm: Vm): boolean =>
  pod.metadata.ownerReferences?.some(({ uid }) => uid === vm.metadata.uid) ?? false;

const isOver = (pod: Pod): boolean =>
  pod.metadata.deletionTimestamp !== undefined || ["Failed", "Succeeded"].includes(pod.status?.phase ?? "");

const hasEndedByItself = (machine: VirtualMachineFacts): boolean =>
  machine.finishedMs !== undefined && (machine.state === "crashed" || hasShutDown(machine));

const ranMs = ({ startedMs, finishedMs }: VirtualMachineFacts): number =>
  (finishedMs ?? 0) - (startedMs ?? finishedMs ?? 0);

function whyEnded({ reason = "it ended", lastLine }: VirtualMachineFacts): string {
  return lastLine === undefined || reason.includes(lastLine) ? reason : `${reason}; last on the console: ${lastLine}`;
}

function missingKey({ name, key }: { name: string; key: string }, kind: string) {
  return invalidArgument(`the ${kind} ${name} has no key ${key}, from which the user data is to come`);
}

function ignoring(...codes: Parameters<typeof hasCode>[1][]) {
  return (error: unknown) => {
    if (!hasCode(error, ...codes)) throw error;
  };
}
