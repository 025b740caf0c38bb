import type { Clock } from "../../../base/index.ts";
import type { DevicePlugin, PluginDevice } from "./plugin.ts";

interface Resource {
  plugin: DevicePlugin | undefined;
  devices: readonly PluginDevice[];
  /** Monotonic; since when no plugin speaks for it. */
  goneAtMs: number;
}

/** Upstream's endpointStopGracePeriod: a plugin that is updated is back by then. */
const GRACE_MS = 300_000;

/** Which devices the node has, by resource, as their plugins last said. */
export class Inventory {
  readonly #clock: Clock;
  readonly #resources = new Map<string, Resource>();
  /** Withdrawn: said to be 0, since the node's status is merged. */
  readonly #withdrawn = new Set<string>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  has(resource: string): boolean {
    return this.#resources.has(resource);
  }

  names(): string[] {
    return [...this.#resources.keys()].toSorted();
  }

  plugin(resource: string): DevicePlugin | undefined {
    return this.#resources.get(resource)?.plugin;
  }

  healthy(resource: string): PluginDevice[] {
    return this.#resources.get(resource)?.devices.filter((device) => device.healthy) ?? [];
  }

  device(resource: string, id: string): PluginDevice | undefined {
    return this.#resources.get(resource)?.devices.find((device) => device.id === id);
  }

  /** A resource that a former process knew: its plugin is expected back. */
  expect(resource: string): void {
    if (!this.has(resource)) this.#put(resource, undefined, []);
  }

  /** A new plugin for the resource, whose devices come next. Returns the one it replaces. */
  register(resource: string, plugin: DevicePlugin): DevicePlugin | undefined {
    const before = this.#resources.get(resource);
    this.#put(resource, plugin, before?.devices ?? []);
    return before?.plugin;
  }

  /** False when this plugin speaks for the resource no more. */
  update(resource: string, plugin: DevicePlugin, devices: readonly PluginDevice[]): boolean {
    if (this.plugin(resource) !== plugin) return false;
    this.#put(resource, plugin, devices);
    return true;
  }

  /** Its devices can't be trusted any more, and stay in the capacity for a while. */
  lost(resource: string, plugin: DevicePlugin): boolean {
    const entry = this.#resources.get(resource);
    if (entry?.plugin !== plugin) return false;
    this.#put(
      resource,
      undefined,
      entry.devices.map((device) => ({ ...device, healthy: false })),
    );
    return true;
  }

  /** As the node's status has it. */
  quantities(): { capacity: Record<string, string>; allocatable: Record<string, string> } {
    for (const [name, { plugin, goneAtMs }] of this.#resources) {
      if (plugin || this.#clock.monotonicMs() - goneAtMs < GRACE_MS) continue;
      this.#resources.delete(name);
      this.#withdrawn.add(name);
    }
    const none = [...this.#withdrawn].map((name) => [name, "0"] as const);
    const count = (of: (resource: Resource) => number) =>
      Object.fromEntries([...none, ...[...this.#resources].map(([name, entry]) => [name, String(of(entry))] as const)]);
    return {
      capacity: count(({ devices }) => devices.length),
      allocatable: count(({ devices }) => devices.filter(({ healthy }) => healthy).length),
    };
  }

  #put(resource: string, plugin: DevicePlugin | undefined, devices: readonly PluginDevice[]): void {
    this.#withdrawn.delete(resource);
    this.#resources.set(resource, { plugin, devices, goneAtMs: this.#clock.monotonicMs() });
  }
}
