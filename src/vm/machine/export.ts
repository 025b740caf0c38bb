import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { failedPrecondition, invalidArgument, MiB } from "../../base/index.ts";
import { run } from "../../host/index.ts";
import type { MachineHost } from "./host.ts";
import type { Machine } from "./machine.ts";

const LONG_MS = 30 * 60_000;

export interface Exported {
  readonly file: string;
  readonly sha256: string;
}

/** Writes a stopped machine's first disk (`qcow2`, `raw`, `vmdk`, `vdi`, …) or all of it (`ova`) into a file of the host. */
export function exportMachine(
  host: MachineHost,
  machine: Machine,
  file: string,
  format: string,
  signal?: AbortSignal,
): Promise<Exported> {
  return machine.exclusively(async () => {
    if (machine.live)
      throw failedPrecondition(`${machine.record.name} is ${machine.record.state}; what it writes cannot be exported`, {
        hint: "stop it first, or export a backup",
      });
    if (!file.startsWith("/")) throw invalidArgument(`${file} is no absolute path`);
    if (format === "ova") return exportOva(host, machine, file, signal);
    const [disk] = machine.record.spec.disks;
    const source = { file: machine.diskFile(disk!.name), format: "qcow2", virtualSizeBytes: disk!.sizeBytes };
    return { file, sha256: await host.disks.export(source, file, format, signal) };
  });
}

/** An OVA (DMTF DSP0243): a tar of descriptor, manifest and stream-optimised VMDK disks, in this order. */
async function exportOva(host: MachineHost, machine: Machine, file: string, signal?: AbortSignal): Promise<Exported> {
  const work = await mkdtemp(path.join(path.dirname(file), ".ova-"));
  try {
    const { name, spec } = machine.record;
    const sums: string[] = [];
    const disks: string[] = [];
    for (const disk of spec.disks) {
      const target = `${name}-${disk.name}.vmdk`;
      const source = { file: machine.diskFile(disk.name), format: "qcow2", virtualSizeBytes: disk.sizeBytes };
      sums.push(`SHA256(${target})= ${await host.disks.export(source, path.join(work, target), "vmdk", signal)}`);
      disks.push(target);
    }
    await writeFile(path.join(work, `${name}.ovf`), descriptor(name, spec, disks));
    await writeFile(path.join(work, `${name}.mf`), `${sums.join("\n")}\n`);
    const members = [`${name}.ovf`, `${name}.mf`, ...disks];
    const { code, stderr } = await run(["/bin/tar", "--format=ustar", "-cf", file, "-C", work, ...members], {
      timeoutMs: LONG_MS,
    });
    if (code !== 0) throw failedPrecondition(`tar failed: ${stderr.trim()}`);
    await chmod(file, 0o600);
    const { sha256File } = await import("../disk/index.ts");
    return { file, sha256: await sha256File(file) };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** Pure. Resource types are CIM's: 3 processors, 4 memory, 6 SCSI controller, 10 network, 17 disk. */
export function descriptor(name: string, spec: Machine["record"]["spec"], disks: readonly string[]): string {
  const item = (fields: Record<string, string | number>) =>
    `      <Item>${Object.entries(fields)
      .map(([key, value]) => `<rasd:${key}>${value}</rasd:${key}>`)
      .join("")}</Item>`;
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    '<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData">',
    "  <References>",
    ...disks.map((file, index) => `    <File ovf:id="file${index}" ovf:href="${file}"/>`),
    "  </References>",
    "  <DiskSection><Info>Disks</Info>",
    ...disks.map(
      (_file, index) =>
        `    <Disk ovf:diskId="disk${index}" ovf:fileRef="file${index}" ovf:capacity="${spec.disks[index]!.sizeBytes}" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>`,
    ),
    "  </DiskSection>",
    '  <NetworkSection><Info>Networks</Info><Network ovf:name="bridge"/></NetworkSection>',
    `  <VirtualSystem ovf:id="${name}"><Info>A machine of berth</Info><Name>${name}</Name>`,
    "    <VirtualHardwareSection><Info>Hardware</Info>",
    item({ ElementName: "processors", InstanceID: 1, ResourceType: 3, VirtualQuantity: spec.cpus }),
    item({
      AllocationUnits: "byte * 2^20",
      ElementName: "memory",
      InstanceID: 2,
      ResourceType: 4,
      VirtualQuantity: Math.round(spec.memoryBytes / MiB),
    }),
    item({ ElementName: "SCSI", InstanceID: 3, ResourceSubType: "lsilogic", ResourceType: 6 }),
    ...disks.map((_file, index) =>
      item({
        AddressOnParent: index,
        ElementName: `disk${index}`,
        HostResource: `ovf:/disk/disk${index}`,
        InstanceID: 10 + index,
        Parent: 3,
        ResourceType: 17,
      }),
    ),
    item({ Connection: "bridge", ElementName: "network", InstanceID: 30, ResourceSubType: "E1000", ResourceType: 10 }),
    "    </VirtualHardwareSection>",
    "  </VirtualSystem>",
    "</Envelope>",
    "",
  ].join("\n");
}
