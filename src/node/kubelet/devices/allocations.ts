import { Checkpoint } from "../checkpoint.ts";
import type { ContainerEdits } from "./plugin.ts";

/** Devices that a container has of one resource. */
export interface Allocation {
  readonly ids: readonly string[];
  /** Undefined while the plugin is asked. */
  readonly edits: ContainerEdits | undefined;
}

interface Saved {
  readonly resources: readonly string[];
  readonly pods: Readonly<Record<string, Readonly<Record<string, Readonly<Record<string, Allocation>>>>>>;
}

type ByResource = Map<string, Allocation>;
type ByContainer = Map<string, ByResource>;

/** Who has which devices: by Pod, container and resource, and on disk, so that the next process gives none away twice. */
export class Allocations {
  readonly #checkpoint: Checkpoint<Saved>;
  readonly #pods = new Map<string, ByContainer>();

  constructor(file: string) {
    this.#checkpoint = new Checkpoint(file);
  }

  /** Returns the resources that were known then. */
  async load(): Promise<readonly string[]> {
    const read = await this.#checkpoint.load();
    for (const [uid, containers] of Object.entries(read?.pods ?? {}))
      for (const [container, resources] of Object.entries(containers))
        for (const [resource, allocation] of Object.entries(resources))
          if (allocation.edits) this.set(uid, container, resource, allocation);
    return read?.resources ?? [];
  }

  save(resources: readonly string[]): Promise<void> {
    const pods = Object.fromEntries(
      [...this.#pods].map(([uid, containers]) => [
        uid,
        Object.fromEntries([...containers].map(([name, entries]) => [name, Object.fromEntries(entries)])),
      ]),
    );
    return this.#checkpoint.save({ resources, pods });
  }

  pods(): string[] {
    return [...this.#pods.keys()];
  }

  of(uid: string, container: string): ReadonlyMap<string, Allocation> {
    return this.#pods.get(uid)?.get(container) ?? new Map();
  }

  set(uid: string, container: string, resource: string, allocation: Allocation): void {
    const containers = this.#pods.get(uid) ?? new Map<string, ByResource>();
    const resources = containers.get(container) ?? new Map<string, Allocation>();
    resources.set(resource, allocation);
    containers.set(container, resources);
    this.#pods.set(uid, containers);
  }

  /** False when the Pod had nothing. */
  release(uid: string): boolean {
    return this.#pods.delete(uid);
  }

  /** Everything of a resource that some container has. */
  inUse(resource: string): Set<string> {
    const used = new Set<string>();
    for (const containers of this.#pods.values())
      for (const resources of containers.values()) for (const id of resources.get(resource)?.ids ?? []) used.add(id);
    return used;
  }
}
