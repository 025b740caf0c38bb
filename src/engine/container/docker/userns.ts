import path from "node:path";
import { invalidArgument } from "../../../base/index.ts";
import type { DockerHostConfig } from "../../../api/index.ts";
import { createUserNamespace, removeUserNamespace } from "../../../host/index.ts";
import { mappedRoot, type IdMappings } from "../spec/id-mappings.ts";
import type { ContainerDeps } from "./deps.ts";
import type { ContainerRecord } from "./record.ts";

/** A user namespace that a container is to run in. */
export interface RemappedUsers {
  readonly mappings: IdMappings;
  /** Where it is pinned. */
  readonly userns: string;
  /** The host's ids of its root. */
  readonly uid: number;
  readonly gid: number;
}

/** The mappings that a container has: the daemon's, unless it says `--userns=host`. */
export function mappingsOf(deps: ContainerDeps, host: DockerHostConfig): IdMappings | undefined {
  return host.UsernsMode === "host" || host.Runtime === "vm" ? undefined : deps.defaults.idMappings;
}

/** What a remapped container can't have. Throws invalidArgument in Docker's words. Pure. */
export function checkRemapped(host: DockerHostConfig): void {
  if (host.Privileged) {
    throw invalidArgument(
      "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running privileged mode",
      { hint: "add --userns=host" },
    );
  }
  const shared = (what: string) =>
    invalidArgument(`cannot share the host's ${what} namespace when user namespaces are enabled`, {
      hint: "add --userns=host",
    });
  if (host.NetworkMode === "host") throw shared("network");
  if (host.PidMode === "host") throw shared("PID");
}

/**
 * The namespace of a container that is about to start, with a network namespace of its own in it where it needs one; undefined for one that isn't
 * remapped. Who joins another container's namespaces joins its user namespace too: from another one it would have no rights in them.
 */
export async function openUserNamespace(
  deps: ContainerDeps,
  record: ContainerRecord,
  donor: ContainerRecord | undefined,
): Promise<RemappedUsers | undefined> {
  const mappings = mappingsOf(deps, record.hostConfig);
  if (!mappings) return undefined;
  const own = pinOf(deps, record.id);
  const users = (userns: string) => ({ mappings, userns, ...mappedRoot(mappings) });
  if (donor) return users(pinOf(deps, donor.id));
  const joins = record.hostConfig.NetworkMode?.startsWith("container:");
  const netnsPin = joins ? undefined : deps.networks.netnsPath(record.id);
  await createUserNamespace({ ...mappings, pin: own, netnsPin }, deps.ctx.clock);
  return users(own);
}

export function closeUserNamespace(deps: ContainerDeps, record: ContainerRecord): void {
  removeUserNamespace(pinOf(deps, record.id));
}

const pinOf = ({ core }: ContainerDeps, id: string) => path.join(core.layout.bundle(id), "userns");
