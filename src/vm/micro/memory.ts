import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { chown, mkdir, open, readFile } from "node:fs/promises";
import net from "node:net";
import path from "node:path";
import { pipeline } from "node:stream/promises";
import { internal, MiB } from "../../base/index.ts";
import { mountTmpfs, run } from "../../host/index.ts";
import type { QmpClient } from "../qmp/index.ts";
import { VM_UID } from "./root.ts";
import type { MachineSize } from "./spec.ts";

/** The file of a machine's memory, in a memory file system of its own that goes with the machine. */
const FILE = "memory";
const STATE = "state";
const SAVE_MS = 30_000;

/** Puts a saved machine's memory (or none) where QEMU finds it. Holes stay holes. */
export async function placeMemory(
  { folder, shape }: { readonly folder?: string; readonly shape: MachineSize },
  target: string,
): Promise<void> {
  const sizeBytes = Math.ceil(shape.memoryBytes / MiB) * MiB;
  await mkdir(target, { recursive: true, mode: 0o700 });
  mountTmpfs(target, { sizeBytes: sizeBytes + MiB, mode: 0o700 });
  const file = path.join(target, FILE);
  if (folder === undefined) await (await open(file, "w", 0o600)).close();
  else await copySparse(path.join(folder, FILE), file);
  await chown(target, VM_UID, VM_UID);
  await chown(file, VM_UID, VM_UID);
}

/** Memory and devices' state go apart: the former stays in its file. */
const APART = { capabilities: [{ capability: "x-ignore-shared", state: true }] };

/** Hands the devices' state to a QEMU that waits for it. */
export async function takeState(
  monitor: QmpClient,
  { folder }: { readonly folder: string },
  runFolder: string,
): Promise<void> {
  const [state] = await Promise.all([
    readFile(path.join(folder, STATE)),
    monitor.execute("migrate-set-capabilities", APART),
  ]);
  await monitor.execute("migrate-incoming", { uri: "unix:/machine/run/incoming.sock" });
  await withShortPath(runFolder, async (folder) => {
    const socket = net.connect(path.join(folder, "incoming.sock"));
    await once(socket, "connect");
    socket.end(state).resume();
    await once(socket, "close");
  });
}

/** Stops a machine, writes memory and devices' state into `target`, and ends it. */
export async function stopAndSave(
  monitor: QmpClient,
  {
    runFolder,
    memoryFolder,
    target,
  }: { readonly runFolder: string; readonly memoryFolder: string; readonly target: string },
): Promise<void> {
  await monitor.execute("stop");
  await monitor.execute("migrate-set-capabilities", APART);
  const socketPath = path.join(runFolder, "state.sock");
  const written = Promise.withResolvers<void>();
  const server = net.createServer((socket) => {
    pipeline(socket, createWriteStream(path.join(target, STATE), { mode: 0o600 })).then(
      written.resolve,
      written.reject,
    );
  });
  await withShortPath(runFolder, async (folder) => {
    server.listen(path.join(folder, "state.sock"));
    await once(server, "listening");
  });
  try {
    await chown(socketPath, VM_UID, VM_UID);
    await monitor.execute("migrate", { uri: "unix:/machine/run/state.sock" });
    await written.promise;
    const { status } = await monitor.execute<{ status: string }>("query-migrate");
    if (status !== "completed") throw internal(`QEMU could not save the machine: ${status}`);
  } finally {
    server.close();
  }
  await copySparse(path.join(memoryFolder, FILE), path.join(target, FILE), "always");
  await monitor.execute("quit").catch(() => {});
}

/** A socket's path has 107 bytes at most: a folder is named by its descriptor for as long as `task` takes. */
export async function withShortPath<T>(folder: string, task: (short: string) => Promise<T>): Promise<T> {
  const handle = await open(folder, "r");
  try {
    return await task(`/proc/self/fd/${handle.fd}`);
  } finally {
    await handle.close();
  }
}

async function copySparse(from: string, to: string, sparse: "auto" | "always" = "auto"): Promise<void> {
  const { code, stderr } = await run(["/bin/cp", `--sparse=${sparse}`, "--", from, to], { timeoutMs: SAVE_MS });
  if (code !== 0) throw internal(`cannot copy a machine's memory: ${stderr.trim()}`);
}
