import path from "node:path";
import type { vm } from "../../api/index.ts";
import { humanDuration, invalidArgument, systemClock } from "../../base/index.ts";
import { size, table } from "../output/table.ts";
import { print } from "../output/terminal.ts";
import { ensureVmPackages, PREFIX, vmPath, vms } from "./vm.ts";

const snapshotPath = (name: string, snapshot: string, rest = "") =>
  vmPath(name, `/snapshots/${encodeURIComponent(snapshot)}${rest}`);

export async function takeSnapshot(name: string, snapshot: string, options: { description?: string }): Promise<void> {
  await vms().json("POST", vmPath(name, "/snapshots"), { json: { name: snapshot, ...options } });
  print(snapshot);
}

export async function listSnapshots(name: string, options: { json?: boolean }): Promise<void> {
  const all = await vms().json<vm.VmSnapshot[]>("GET", vmPath(name, "/snapshots"));
  if (options.json) return print(JSON.stringify(all));
  const nowMs = systemClock.nowMs();
  const rows = tree(all).map(({ depth, item }) => [
    `${"  ".repeat(depth)}${item.name}${item.current ? " *" : ""}`,
    item.memory ? "with memory" : "disks",
    `${humanDuration(nowMs - item.createdMs)} ago`,
    item.description,
  ]);
  print(table(["SNAPSHOT", "KIND", "CREATED", "DESCRIPTION"], rows));
}

/** Children below their parents, in the order of their making. */
export function tree(all: readonly vm.VmSnapshot[]): { depth: number; item: vm.VmSnapshot }[] {
  const below = (parent: string | undefined, depth: number): { depth: number; item: vm.VmSnapshot }[] =>
    all.filter((item) => item.parent === parent).flatMap((item) => [{ depth, item }, ...below(item.name, depth + 1)]);
  return below(undefined, 0);
}

export async function revert(name: string, snapshot: string): Promise<void> {
  await vms().json("POST", snapshotPath(name, snapshot, "/revert"));
  print(name);
}

export async function deleteSnapshot(name: string, snapshot: string): Promise<void> {
  await vms().json("DELETE", snapshotPath(name, snapshot));
  print(snapshot);
}

export async function backUp(name: string, options: { full?: boolean }): Promise<void> {
  await ensureVmPackages();
  const made = await vms().json<vm.VmBackup>("POST", vmPath(name, "/backups"), { json: options });
  print(made.id);
}

export async function listBackups(name: string | undefined, options: { json?: boolean }): Promise<void> {
  const query = name === undefined ? {} : { vm: name };
  const all = await vms().json<vm.VmBackup[]>("GET", `${PREFIX}/backups`, { query });
  if (options.json) return print(JSON.stringify(all));
  const nowMs = systemClock.nowMs();
  const rows = all.map((backup) => [
    backup.id,
    backup.vm,
    backup.kind,
    backup.consistency,
    `${humanDuration(nowMs - backup.createdMs)} ago`,
    size(backup.disks.reduce((sum, disk) => sum + disk.sizeBytes, 0)),
  ]);
  print(table(["BACKUP", "VM", "KIND", "CONSISTENT BY", "CREATED", "DISKS"], rows));
}

export async function verifyBackup(id: string): Promise<void> {
  const { disks } = await vms().json<{ disks: Array<{ name: string; sha256: string }> }>(
    "POST",
    `${PREFIX}/backups/${encodeURIComponent(id)}/verify`,
  );
  for (const { name, sha256 } of disks) print(`${sha256}  ${name}`);
}

export async function restoreBackup(id: string, options: { name?: string }): Promise<void> {
  await ensureVmPackages();
  const url = `${PREFIX}/backups/${encodeURIComponent(id)}/restore`;
  print((await vms().json<vm.VmView>("POST", url, { json: options })).name);
}

export async function deleteBackup(id: string): Promise<void> {
  await vms().json("DELETE", `${PREFIX}/backups/${encodeURIComponent(id)}`);
  print(id);
}

const UNITS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

export async function schedule(name: string, options: { every?: string; keep: string; off?: boolean }): Promise<void> {
  if (!options.off && !options.every) throw invalidArgument("how often is missing", { hint: "--every 6h, or --off" });
  const policy = options.off ? {} : { policy: { everyMs: toMs(options.every!), keep: Number(options.keep) } };
  await vms().json("PUT", vmPath(name, "/backup-policy"), { json: policy });
  print(name);
}

export function toMs(text: string): number {
  const match = /^(\d+)([smhd])$/.exec(text);
  if (!match) throw invalidArgument(`invalid duration "${text}"`, { hint: "for example 10m, 6h or 1d" });
  return Number(match[1]) * UNITS[match[2]!]!;
}

export async function exportVm(name: string, file: string, options: { format?: string }): Promise<void> {
  await ensureVmPackages();
  const format = options.format ?? path.extname(file).slice(1);
  const made = await vms().json<{ file: string; sha256: string }>("POST", vmPath(name, "/export"), {
    json: { file: path.resolve(file), format },
  });
  print(`${made.sha256}  ${made.file}`);
}

export async function images(name: string | undefined, options: { json?: boolean }): Promise<void> {
  if (name !== undefined) {
    await ensureVmPackages();
    const made = await vms().json<vm.VmImage>("POST", `${PREFIX}/images/${encodeURIComponent(name)}`);
    return print(made.name);
  }
  const all = await vms().json<vm.VmImage[]>("GET", `${PREFIX}/images`);
  if (options.json) return print(JSON.stringify(all));
  const rows = all.map((image) => [
    image.name,
    image.present ? size(image.sizeBytes ?? 0) : "not made yet",
    image.description,
  ]);
  print(table(["NAME", "ON DISK", "DESCRIPTION"], rows));
}
