import type { vm } from "../../api/index.ts";
import { failedPrecondition, invalidArgument, MiB } from "../../base/index.ts";
import { cpuQuota, type MachineHost } from "./host.ts";
import type { Machine } from "./machine.ts";

const BLOCK_BYTES = 2 * MiB;
const MIN_MEMORY_BYTES = 64 * MiB;
const CPU_MS = 10_000;
const AGENT_MS = 1_000;
const CPU_POLL_MS = 200;

/** Changes a machine's size: at once when it runs, and for every later start. Throws before anything is changed. */
export async function resizeMachine(host: MachineHost, machine: Machine, wanted: vm.VmResize): Promise<void> {
  await machine.exclusively(async () => {
    const { spec } = machine.record;
    checkResize(spec, wanted, machine.live);
    if (wanted.limits) await setLimits(machine, wanted.limits);
    if (wanted.cpus !== undefined) await setCpus(host, machine, wanted.cpus);
    if (wanted.memoryBytes !== undefined) await setMemory(machine, wanted.memoryBytes);
    if (wanted.diskBytes !== undefined) await growDisk(host, machine, wanted.diskBytes);
  });
}

/** Throws invalidArgument or failedPrecondition with what could be had. Pure. */
export function checkResize(spec: vm.VmSpec, wanted: vm.VmResize, live: boolean): void {
  const { cpus, memoryBytes, diskBytes } = wanted;
  const hint = "stop the machine first: then it can have any size";
  if (cpus !== undefined) {
    if (!Number.isInteger(cpus) || cpus < 1) throw invalidArgument(`${cpus} processors cannot be had`);
    if (live && cpus > spec.maxCpus)
      throw failedPrecondition(`while it runs it can have ${spec.maxCpus} processors at most`, { hint });
    if (live && cpus < spec.cpus)
      throw failedPrecondition("processors cannot be taken away while it runs", {
        hint: "limit their time instead: berth vm resize --cpu-limit",
      });
  }
  if (memoryBytes !== undefined) {
    if (!(memoryBytes >= MIN_MEMORY_BYTES)) throw invalidArgument(`${memoryBytes} bytes of memory are too few`);
    if (live && memoryBytes > spec.maxMemoryBytes)
      throw failedPrecondition(`while it runs it can have ${spec.maxMemoryBytes / MiB} MiB of memory at most`, {
        hint,
      });
  }
  const size = spec.disks[0]?.sizeBytes ?? 0;
  if (diskBytes !== undefined && diskBytes < size)
    throw invalidArgument(`a disk of ${size} bytes cannot shrink to ${diskBytes}`, {
      hint: "make a smaller machine and copy the files over",
    });
}

interface HotCpu {
  readonly type: string;
  readonly props: Readonly<Record<string, number>>;
  readonly "qom-path"?: string;
}

async function setCpus(host: MachineHost, machine: Machine, cpus: number): Promise<void> {
  const { spec } = machine.record;
  if (machine.live) {
    const slots = await machine.monitor.execute<HotCpu[]>("query-hotpluggable-cpus");
    const free = slots
      .filter((slot) => slot["qom-path"] === undefined)
      .sort((a, b) => (a.props["socket-id"] ?? 0) - (b.props["socket-id"] ?? 0));
    const used = slots.length - free.length;
    for (const [index, slot] of free.slice(0, cpus - used).entries())
      await machine.monitor.execute("device_add", { driver: slot.type, id: `cpu${used + index}`, ...slot.props });
    await machine.change({ spec: { ...spec, cpus } });
    await bringCpusUp(host, machine);
    return;
  }
  await machine.change({ spec: { ...spec, cpus, maxCpus: Math.max(cpus, spec.maxCpus) } });
}

interface GuestCpu {
  readonly "logical-id": number;
  readonly online: boolean;
}

/** Some guests do not use a new processor before they are told to; their agent can. It takes them a moment to see it. */
async function bringCpusUp(host: MachineHost, machine: Machine): Promise<void> {
  if (!(await machine.agent.answers(AGENT_MS))) return;
  const { clock } = host.context;
  const deadline = clock.monotonicMs() + CPU_MS;
  while (clock.monotonicMs() < deadline) {
    const cpus = await machine.agent.call<GuestCpu[]>("guest-get-vcpus").catch(() => []);
    const asleep = cpus.filter(({ online }) => !online);
    if (asleep.length > 0) {
      const vcpus = asleep.map((cpu) => ({ "logical-id": cpu["logical-id"], online: true }));
      await machine.agent.call("guest-set-vcpus", { vcpus }).catch(() => {});
    } else if (cpus.length >= machine.record.spec.cpus || cpus.length === 0) return;
    await clock.sleep(CPU_POLL_MS);
  }
}

/** Kernels that are not ours leave new memory aside until they are told, unless a rule of the guest's udev does so. */
const USE_MEMORY = [
  "/bin/sh",
  "-c",
  "echo online_movable >/sys/devices/system/memory/auto_online_blocks; for state in /sys/devices/system/memory/memory*/state; " +
    'do read -r now <"$state"; [ "$now" != offline ] || echo online_movable >"$state"; done',
];

/** Below what it was started with the balloon takes memory away; above, virtio-mem adds some. */
async function setMemory(machine: Machine, memoryBytes: number): Promise<void> {
  const { spec } = machine.record;
  if (!machine.live) {
    const maxMemoryBytes = Math.max(memoryBytes, spec.maxMemoryBytes);
    return machine.change({ spec: { ...spec, memoryBytes, maxMemoryBytes } });
  }
  const [{ "base-memory": started }] = [
    await machine.monitor.execute<{ "base-memory": number }>("query-memory-size-summary"),
  ];
  if (spec.maxMemoryBytes > started) {
    const more = Math.max(0, Math.floor((memoryBytes - started) / BLOCK_BYTES) * BLOCK_BYTES);
    const set = { path: "/machine/peripheral/growth", property: "requested-size", value: more };
    await machine.monitor.execute("qom-set", set);
    if (await machine.agent.answers(AGENT_MS)) await machine.agent.exec(USE_MEMORY).catch(() => {});
  }
  await machine.monitor.execute("balloon", { value: Math.min(memoryBytes, started) });
  return machine.change({ grownMemoryBytes: memoryBytes });
}

async function growDisk(host: MachineHost, machine: Machine, sizeBytes: number): Promise<void> {
  const { spec } = machine.record;
  const [first, ...rest] = spec.disks;
  if (!first) throw failedPrecondition(`${machine.record.name} has no disk`);
  if (machine.live) await machine.monitor.execute("block_resize", { "node-name": first.name, size: sizeBytes });
  else
    await host.disks.grow(
      { file: machine.diskFile(first.name), format: "qcow2", virtualSizeBytes: first.sizeBytes },
      sizeBytes,
    );
  await machine.change({ spec: { ...spec, disks: [{ ...first, sizeBytes }, ...rest] } });
  if (!(await machine.agent.answers(AGENT_MS))) return;
  // The file system follows when the guest has the tool; else it does at its next start.
  await machine.agent.exec([resizer(machine), "/dev/vda"], { timeoutMs: 120_000 }).catch(() => {});
}

const resizer = ({ record }: Machine) => (record.guest === "oci" ? "/bin/resize2fs" : "/sbin/resize2fs");

async function setLimits(machine: Machine, limits: vm.VmLimits): Promise<void> {
  const { spec } = machine.record;
  const merged = { ...spec.limits, ...limits };
  await machine.change({ spec: { ...spec, limits: merged } });
  if (!machine.live) return;
  await machine.throttle();
  const cpu = merged.cpuMillis ? cpuQuota(merged.cpuMillis) : { quota: -1, period: 100_000 };
  await machine.program.update({ cpu });
}
