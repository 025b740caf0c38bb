import type { Change } from "../../snapshot/index.ts";
import type { DockerContainers } from "./service.ts";

/** What we, and the runtime as mount points for us, made in the container's own layer. */
const OURS = new Set([
  "/.dockerenv",
  "/etc/hostname",
  "/etc/hosts",
  "/etc/mtab",
  "/etc/resolv.conf",
  "/sbin/docker-init",
  "/dev",
  "/proc",
  "/sys",
]);

/** `docker diff`: what the container changed, less the mount points of our files. */
export async function changesOf(service: DockerContainers, ref: string): Promise<Change[]> {
  const record = service.store.get(ref);
  const targets = new Set(record.mounts.map((mount) => mount.Destination));
  return withoutMountPoints(await service.deps.snapshots.changes(record.id), targets);
}

/** Pure. A directory that counts as modified only because of a mount point in it goes as well. */
export function withoutMountPoints(changes: readonly Change[], targets: ReadonlySet<string>): Change[] {
  const made = (change: Change) => change.kind === "added" && (OURS.has(change.path) || targets.has(change.path));
  const rest = changes.filter((change) => !made(change));
  const removedParents = new Set(
    changes.filter(made).map((change) => change.path.slice(0, change.path.lastIndexOf("/"))),
  );
  return rest.filter(
    (change) =>
      change.kind !== "modified" ||
      !removedParents.has(change.path) ||
      rest.some((other) => other !== change && other.path.startsWith(`${change.path}/`)),
  );
}
