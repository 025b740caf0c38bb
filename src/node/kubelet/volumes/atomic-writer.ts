import { createHash } from "node:crypto";
import { chown, lstat, mkdir, readdir, readlink, rename, rm, symlink, unlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { invalidArgument } from "../../../base/index.ts";

export interface FilePayload {
  readonly content: Uint8Array;
  readonly mode: number;
}
export type Payload = ReadonlyMap<string, FilePayload>;

/**
 * Publishes a set of files so that a reader sees either all of the old or all of the new ones: they are written to a folder of their own,
 * `..data` points to it and is replaced by one rename, and each visible name is a link through `..data`. The layout is the one that programs
 * watching mounted ConfigMaps know (pkg/volume/util/atomic_writer.go upstream). Returns whether anything changed.
 */
export async function writeAtomically(
  folder: string,
  payload: Payload,
  owner?: { uid?: number; gid?: number },
): Promise<boolean> {
  for (const name of payload.keys()) checkPath(name);
  const version = `..${digest(payload)}`;
  const data = path.join(folder, "..data");
  const current = await readlink(data).catch(() => undefined);
  if (current === version) return false;

  const fresh = path.join(folder, version);
  await rm(fresh, { recursive: true, force: true });
  await mkdir(fresh, { recursive: true, mode: 0o755 });
  for (const [name, file] of payload) {
    const target = path.join(fresh, name);
    await mkdir(path.dirname(target), { recursive: true, mode: 0o755 });
    await writeFile(target, file.content, { mode: file.mode });
    if (owner) await chown(target, owner.uid ?? 0, owner.gid ?? 0);
  }
  const pending = path.join(folder, "..data_tmp");
  await rm(pending, { force: true });
  await symlink(version, pending);
  await rename(pending, data);
  await linkNames(folder, payload);
  if (current) await rm(path.join(folder, current), { recursive: true, force: true });
  return true;
}

async function linkNames(folder: string, payload: Payload): Promise<void> {
  const wanted = new Set([...payload.keys()].map((name) => name.split("/")[0]!));
  for (const name of await readdir(folder)) {
    if (name.startsWith("..") || wanted.has(name)) continue;
    await rm(path.join(folder, name), { recursive: true, force: true });
  }
  for (const name of wanted) {
    const link = path.join(folder, name);
    const there = await lstat(link).catch(() => undefined);
    if (there?.isSymbolicLink()) continue;
    if (there) await unlink(link);
    await symlink(path.join("..data", name), link);
  }
}

function digest(payload: Payload): string {
  const hash = createHash("sha256");
  for (const [name, file] of [...payload].sort(([a], [b]) => (a < b ? -1 : 1)))
    hash.update(`${name}\0${file.mode}\0${file.content.length}\0`).update(file.content);
  return hash.digest("hex").slice(0, 20);
}

function checkPath(name: string): void {
  const parts = name.split("/");
  if (name === "" || path.isAbsolute(name) || parts.includes("..") || parts[0]!.startsWith("..")) {
    throw invalidArgument(`invalid path ${JSON.stringify(name)}: must be relative, without '..'`);
  }
}
