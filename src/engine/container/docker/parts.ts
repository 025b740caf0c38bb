import { errnoOf, type KeyedMutex } from "../../../base/index.ts";
import type { ContainerDeps } from "./deps.ts";
import type { Launcher } from "./launcher.ts";
import type { LiveContainers } from "./live.ts";
import type { ContainerRecord } from "./record.ts";
import type { ContainerStore } from "./store.ts";
import type { ContainerWaiters } from "./waiters.ts";

/** What the subjects of this folder (life, stopping, networks, execs, …) work on together. */
export interface ContainerParts {
  readonly deps: ContainerDeps;
  readonly store: ContainerStore;
  readonly launcher: Launcher;
  readonly live: LiveContainers;
  readonly waiters: ContainerWaiters;
  /** One holder per container's id: what a client changes goes through it. */
  readonly lock: KeyedMutex;
}

/** What gives room back must not need room itself: on a full disk stopping and removing go on, and the record stays the old one. */
export async function saveIfRoom({ store, deps }: ContainerParts, record: ContainerRecord): Promise<void> {
  try {
    await store.save(record);
  } catch (error) {
    if (errnoOf(error) !== "ENOSPC" && errnoOf(error) !== "EDQUOT") throw error;
    deps.ctx.log.warn("a container's record could not be written: the disk is full", { container: record.id });
  }
}

/** Tells a container's event to who listens. */
export function publish(
  { events }: ContainerDeps,
  record: ContainerRecord,
  action: string,
  attributes: Readonly<Record<string, string>> = {},
): void {
  events.publish("container", action, record.id, {
    ...record.config.Labels,
    image: record.config.Image ?? "",
    name: record.name,
    ...attributes,
  });
}
