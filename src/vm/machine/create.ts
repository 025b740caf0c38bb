import { access, mkdir, rm } from "node:fs/promises";
import path from "node:path";
import type { vm } from "../../api/index.ts";
import { failedPrecondition, invalidArgument, MiB, randomHex, randomUuid, type Random } from "../../base/index.ts";
import { QemuImg } from "../disk/index.ts";
import type { MachineRecord } from "./record.ts";
import { prepareSource, type Creation, type Source } from "./sources.ts";

const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$/;
const HOSTNAME = /^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$/;
const DEFAULT_MEMORY_BYTES = 512 * MiB;
const MIN_MEMORY_BYTES = 64 * MiB;
const MAX_CPUS = 64;
/** More are cut off by the protocol. */
const VNC_PASSWORD_LENGTH = 8;
const UEFI_VARIABLES = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/** Makes a machine's folder with its disks, and last its record: a creation that is cut off leaves only garbage. */
export async function createMachine(creation: Creation): Promise<MachineRecord> {
  const { host, request } = creation;
  const { random, clock } = host.context;
  checkRequest(request);
  const id = randomHex(random, 6);
  const folder = path.join(host.records.folder(id), "disks");
  await mkdir(folder, { recursive: true, mode: 0o700 });
  try {
    const source = await prepareSource(creation, folder);
    const spec = specOf(request, source, random);
    for (const { name, sizeBytes } of spec.disks.slice(source.disks.length))
      await host.disks.create(path.join(folder, `${name}.qcow2`), sizeBytes);
    if (spec.firmware === "uefi") await makeVariables(path.join(folder, "firmware.qcow2"));
    await host.handOver(folder);
    const record: MachineRecord = {
      id,
      name: request.name,
      source: request.source,
      uuid: randomUuid(random),
      instanceId: `i-${randomHex(random, 8)}`,
      spec,
      state: "created",
      guest: source.guest,
      bases: source.bases,
      createdMs: clock.nowMs(),
      addresses: [],
      publishedPorts: [],
      snapshots: [],
      ...(request.vncPassword ? { vncPassword: request.vncPassword } : {}),
    };
    await host.records.write(record);
    return record;
  } catch (error) {
    await rm(host.records.folder(id), { recursive: true, force: true });
    throw error;
  }
}

/** Throws invalidArgument, each with what is right. */
export function checkRequest(request: vm.CreateVmRequest): void {
  if (!NAME.test(request.name ?? ""))
    throw invalidArgument(`${JSON.stringify(request.name)} is no name for a machine`, {
      hint: "letters, digits, - _ and ., at most 63",
    });
  if (!request.source) throw invalidArgument("what the machine is made from is missing");
  const { cpus = 1, memoryBytes = DEFAULT_MEMORY_BYTES, firmware, hostname } = request;
  if (hostname !== undefined && !HOSTNAME.test(hostname))
    throw invalidArgument(`${JSON.stringify(hostname)} is no hostname`, { hint: "1 to 63 letters, digits and -" });
  if (!Number.isInteger(cpus) || cpus < 1 || cpus > MAX_CPUS)
    throw invalidArgument(`${cpus} processors cannot be had`, { hint: `1 to ${MAX_CPUS}` });
  if (!(memoryBytes >= MIN_MEMORY_BYTES))
    throw invalidArgument(`${memoryBytes} bytes of memory are too few`, { hint: "at least 64 MiB" });
  const { vncPassword = "" } = request;
  if (vncPassword.length > VNC_PASSWORD_LENGTH || (vncPassword !== "" && !request.vnc))
    throw invalidArgument("a screen's password has at most 8 characters, and needs a screen", { hint: "--vnc" });
  if (firmware !== undefined && !["kernel", "bios", "uefi"].includes(firmware))
    throw invalidArgument(`there is no firmware ${String(firmware)}`, { hint: "kernel, bios or uefi" });
}

function specOf(request: vm.CreateVmRequest, source: Source, random: Random): vm.VmSpec {
  const like = source.like;
  const cpus = request.cpus ?? like?.cpus ?? 1;
  const memoryBytes = request.memoryBytes ?? like?.memoryBytes ?? DEFAULT_MEMORY_BYTES;
  const networks = request.networks ?? like?.networks?.map(({ network }) => ({ network })) ?? [{ network: "bridge" }];
  const disks = [...source.disks, ...(request.extraDisks ?? [])];
  const process = source.process && { ...source.process, ...(request.args?.length ? { args: request.args } : {}) };
  return {
    cpus,
    maxCpus: Math.max(cpus, request.maxCpus ?? like?.maxCpus ?? Math.max(cpus, 4)),
    memoryBytes,
    maxMemoryBytes: Math.max(memoryBytes, request.maxMemoryBytes ?? like?.maxMemoryBytes ?? memoryBytes),
    firmware: request.firmware ?? source.firmware,
    disks: disks.map((sizeBytes, index) => ({ name: `disk${index}`, sizeBytes })),
    networks: networks.map((link) => ({
      ...link,
      macAddress: ("macAddress" in link && link.macAddress) || macAddress(random),
    })),
    ports: request.ports ?? [],
    shares: request.shares ?? [],
    limits: request.limits ?? like?.limits ?? {},
    hostname: request.hostname ?? request.name.replaceAll(/[^a-zA-Z0-9-]/g, "-").replace(/-+$/, ""),
    user: request.user ?? like?.user ?? "berth",
    sshKeys: request.sshKeys ?? like?.sshKeys ?? [],
    ...(request.userData === undefined ? {} : { userData: request.userData }),
    ...((request.cdrom ?? source.cdrom) ? { cdrom: request.cdrom ?? source.cdrom } : {}),
    vnc: request.vnc ?? like?.vnc ?? false,
    ...(process ? { process } : {}),
    autostart: request.autostart ?? false,
  };
}

/** A backed-up machine as it is after a restore: stopped, on disks of its own. With `random` it gets a new identity. Pure. */
export function restoredRecord(backedUp: MachineRecord, name: string, nowMs: number, random?: Random): MachineRecord {
  const { snapshot: _s, backedUp: _b, startedMs: _t, grownMemoryBytes: _g, reason: _r, ...kept } = backedUp;
  const record = {
    ...kept,
    name,
    state: "stopped" as const,
    snapshots: [],
    bases: [],
    addresses: [],
    publishedPorts: [],
  };
  if (!random) return record;
  const networks = record.spec.networks.map(({ network }) => ({ network, macAddress: macAddress(random) }));
  return {
    ...record,
    id: randomHex(random, 6),
    uuid: randomUuid(random),
    instanceId: `i-${randomHex(random, 8)}`,
    createdMs: nowMs,
    spec: { ...record.spec, networks, ports: [] },
  };
}

/** Locally administered, so that it meets nobody else's. */
function macAddress(random: Random): string {
  const bytes = [0x52, 0x54, 0x00, ...random.bytes(3)];
  return bytes.map((byte) => byte.toString(16).padStart(2, "0")).join(":");
}

async function makeVariables(file: string): Promise<void> {
  await access(UEFI_VARIABLES).catch(() => {
    throw failedPrecondition("there is no UEFI firmware on this host", { hint: "apt-get install ovmf" });
  });
  await new QemuImg().convert({ file: UEFI_VARIABLES, format: "raw" }, { file, format: "qcow2" });
}
