import { chmodSync, chownSync, readFileSync, rmSync } from "node:fs";
import type { Server } from "node:net";

/** Listens on a unix socket, replacing one that a former daemon left (the instance's lock says that nobody else listens). */
export async function listenUnix(server: Server, socketPath: string): Promise<void> {
  rmSync(socketPath, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen({ path: socketPath }, () => {
      server.off("error", reject);
      resolve();
    });
  });
}

/** 0660, and for the first of the groups that exists on this machine. */
export function shareWithGroup(socketPath: string, groups: readonly string[]): void {
  const gid = groups.map(groupId).find((found) => found !== undefined);
  if (gid !== undefined) chownSync(socketPath, 0, gid);
  chmodSync(socketPath, 0o660);
}

function groupId(name: string): number | undefined {
  try {
    const line = readFileSync("/etc/group", "utf8")
      .split("\n")
      .find((entry) => entry.startsWith(`${name}:`));
    return line ? Number(line.split(":")[2]) : undefined;
  } catch {
    return undefined;
  }
}
