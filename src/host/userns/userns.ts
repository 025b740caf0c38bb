import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { failedPrecondition, messageOf, type Clock } from "../../base/index.ts";
import { mount, MS, unmount } from "../mount/index.ts";
import { signalProcess, spawn } from "../process/index.ts";

/** One line of /proc/PID/uid_map or gid_map (user_namespaces(7)). */
export interface IdMapping {
  readonly containerId: number;
  readonly hostId: number;
  readonly size: number;
}

export interface UserNamespaceSpec {
  readonly uids: readonly IdMapping[];
  readonly gids: readonly IdMapping[];
  /** Where the namespace is pinned by a bind mount; its folder is made. */
  readonly pin: string;
  /** Pin a network namespace that belongs to it too: only in such a one do its processes have rights over interfaces, ports below 1024, ping. */
  readonly netnsPin?: string;
}

const ATTEMPTS = 500;

/** Makes a user namespace with these mappings, held by its pin alone. What is pinned there already is kept. */
export async function createUserNamespace(spec: UserNamespaceSpec, clock: Clock): Promise<void> {
  if (isPinned(spec.pin) && (spec.netnsPin === undefined || isPinned(spec.netnsPin))) return;
  const net = spec.netnsPin === undefined ? [] : ["--net"];
  const holder = spawn({ argv: ["/usr/bin/unshare", "--user", ...net, "--", "/bin/sleep", "60"], newSession: true });
  try {
    await unshared(holder, clock);
    write(`/proc/${holder}/gid_map`, spec.gids);
    write(`/proc/${holder}/uid_map`, spec.uids);
    pin(`/proc/${holder}/ns/user`, spec.pin);
    if (spec.netnsPin !== undefined) pin(`/proc/${holder}/ns/net`, spec.netnsPin);
  } catch (error) {
    removeUserNamespace(spec.pin);
    throw failedPrecondition(`cannot make a user namespace: ${messageOf(error)}`, {
      cause: error,
      hint: "the kernel must allow user namespaces (sysctl user.max_user_namespaces)",
    });
  } finally {
    signalProcess(holder, 9);
  }
}

/** Unpins; the namespace goes with its last process. No error when it is not there. */
export function removeUserNamespace(pinned: string): void {
  while (existsSync(pinned) && unmount(pinned, { lazy: true }));
}

/** The pinned file stands on nsfs, whose device is not the folder's. */
function isPinned(file: string): boolean {
  return readFileSync("/proc/self/mountinfo", "utf8").includes(` ${file} `);
}

/** The holder is in a namespace of its own once it no longer shares ours. */
async function unshared(pid: number, clock: Clock): Promise<void> {
  const { readlink } = await import("node:fs/promises");
  const own = await readlink("/proc/self/ns/user");
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const its = await readlink(`/proc/${pid}/ns/user`).catch(() => own);
    const program = await readlink(`/proc/${pid}/exe`).catch(() => "");
    if (its !== own && !program.endsWith("/unshare")) return;
    await clock.sleep(1);
  }
  throw failedPrecondition("unshare(1) did not make a user namespace");
}

function write(file: string, mappings: readonly IdMapping[]): void {
  writeFileSync(file, mappings.map((map) => `${map.containerId} ${map.hostId} ${map.size}\n`).join(""));
}

function pin(namespace: string, target: string): void {
  mkdirSync(path.dirname(target), { recursive: true, mode: 0o711 });
  writeFileSync(target, "");
  mount(namespace, target, null, MS.BIND);
}
