import { failedPrecondition, invalidArgument, type Clock } from "../../../base/index.ts";
import type { KubeletApi } from "../kubelet-api.ts";
import type { k8s } from "../pod/imports.ts";
import type { PluginHandler, PluginInfo } from "../plugins/registry.ts";
import type { UsualFolder } from "../usual-folder.ts";
import { CsiDriver } from "./driver.ts";

export interface CsiDriversOptions {
  readonly api: KubeletApi;
  readonly clock: Clock;
  readonly nodeName: string;
  readonly usualFolder: UsualFolder;
}

/** The CSI drivers that are registered on this node, and what the API is told of them: CSINode, and the topology as labels of the node. */
export class CsiDrivers implements PluginHandler {
  readonly #options: CsiDriversOptions;
  readonly #drivers = new Map<string, { driver: CsiDriver; endpoint: string }>();
  /** One write of CSINode at a time. */
  #writing: Promise<void> = Promise.resolve();

  constructor(options: CsiDriversOptions) {
    this.#options = options;
  }

  /** Throws when no such driver runs here. */
  get(name: string): CsiDriver {
    const entry = this.#drivers.get(name);
    if (!entry) throw failedPrecondition(`driver name ${name} not found in the list of registered CSI drivers`);
    return entry.driver;
  }

  async register(plugin: PluginInfo): Promise<void> {
    if (!plugin.supportedVersions.some((version) => /^v?1\./.test(version)))
      throw invalidArgument(
        `CSI driver ${plugin.name} speaks ${plugin.supportedVersions.join(", ") || "no version"}; this node speaks CSI 1`,
      );
    const { clock, usualFolder } = this.#options;
    const named = (target: string) => (plugin.inUsualFolder ? usualFolder.toUsual(target) : target);
    const driver = await CsiDriver.connect(plugin.name, plugin.endpoint, named, clock);
    this.#drivers.get(plugin.name)?.driver.close();
    this.#drivers.set(plugin.name, { driver, endpoint: plugin.endpoint });
    await this.#tell();
    const { topology } = driver.info;
    if (Object.keys(topology).length > 0) await this.#options.api.patchNode({ metadata: { labels: { ...topology } } });
  }

  unregister(plugin: PluginInfo): void {
    const entry = this.#drivers.get(plugin.name);
    if (entry?.endpoint !== plugin.endpoint) return;
    this.#drivers.delete(plugin.name);
    entry.driver.close();
    void this.#tell().catch(() => {});
  }

  /** A daemon that was killed left what it knew; drivers that do not come back are no longer the node's. */
  async forgetOthers(): Promise<void> {
    const node = await this.#options.api.csiNode();
    if (node && node.spec.drivers.length > 0) await this.#tell();
  }

  close(): void {
    for (const { driver } of this.#drivers.values()) driver.close();
    this.#drivers.clear();
  }

  #tell(): Promise<void> {
    this.#writing = this.#writing.catch(() => {}).then(() => this.#options.api.writeCsiNode(this.#list()));
    return this.#writing;
  }

  #list(): k8s.CSINodeDriver[] {
    return [...this.#drivers.values()].map(({ driver: { name, info } }) => ({
      name,
      nodeID: info.nodeId,
      topologyKeys: Object.keys(info.topology),
      ...(info.maxVolumes > 0 ? { allocatable: { count: info.maxVolumes } } : {}),
    }));
  }
}
