import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { failedPrecondition, invalidArgument } from "../../base/index.ts";
import { run } from "../../host/index.ts";
import { sha256File } from "../disk/index.ts";
import { atRest, copyDisks } from "./copy.ts";
import type { MachineHost } from "./host.ts";
import type { Machine } from "./machine.ts";
import { descriptor } from "./ova.ts";

const LONG_MS = 30 * 60_000;

export interface Exported {
  readonly file: string;
  readonly sha256: string;
}

/** Writes a machine's first disk (`qcow2`, `raw`, `vmdk`, `vdi`, …) or all of it (`ova`) into a file of the host; of one that runs, as its disks are at one moment. */
export function exportMachine(
  host: MachineHost,
  machine: Machine,
  file: string,
  format: string,
  signal?: AbortSignal,
): Promise<Exported> {
  if (!file.startsWith("/")) throw invalidArgument(`${file} is no absolute path`);
  return machine.exclusively(async () => {
    if (!machine.live) return write(host, machine, (disk) => machine.diskFile(disk), file, format, signal);
    const copies = await atRest(machine, ({ thaw }) => copyDisks(host, machine, "plain", thaw));
    try {
      return await write(host, machine, (disk) => copies.get(disk)!, file, format, signal);
    } finally {
      for (const copy of copies.values()) await rm(copy, { force: true });
    }
  });
}

async function write(
  host: MachineHost,
  machine: Machine,
  diskFile: (name: string) => string,
  file: string,
  format: string,
  signal?: AbortSignal,
): Promise<Exported> {
  const disks = machine.record.spec.disks.map(({ name, sizeBytes }) => ({
    name,
    source: { file: diskFile(name), format: "qcow2", virtualSizeBytes: sizeBytes },
  }));
  if (format !== "ova") return { file, sha256: await host.disks.export(disks[0]!.source, file, format, signal) };
  // An OVA is a tar of descriptor, manifest and stream-optimised VMDK disks, in this order.
  const work = await mkdtemp(path.join(path.dirname(file), ".ova-"));
  try {
    const { name, spec } = machine.record;
    const vmdk = (disk: string) => `${name}-${disk}.vmdk`;
    const sums: string[] = [];
    for (const disk of disks) {
      const sum = await host.disks.export(disk.source, path.join(work, vmdk(disk.name)), "vmdk", signal);
      sums.push(`SHA256(${vmdk(disk.name)})= ${sum}`);
    }
    const members = [`${name}.ovf`, `${name}.mf`, ...disks.map((disk) => vmdk(disk.name))];
    await writeFile(path.join(work, members[0]!), descriptor(name, spec, members.slice(2)));
    await writeFile(path.join(work, members[1]!), `${sums.join("\n")}\n`);
    const argv = ["/bin/tar", "--format=ustar", "-cf", file, "-C", work, ...members];
    const { code, stderr } = await run(argv, { timeoutMs: LONG_MS });
    if (code !== 0) throw failedPrecondition(`tar failed: ${stderr.trim()}`);
    await chmod(file, 0o600);
    return { file, sha256: await sha256File(file) };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
