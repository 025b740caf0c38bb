import { PLUGIN_PROTOS } from "../../../api/index.ts";
import { invalidArgument, messageOf, type Clock, type Logger } from "../../../base/index.ts";
import type { UsualFolder } from "../usual-folder.ts";
import { SocketFolder } from "./sockets.ts";

/** What a plugin says of itself on its registration socket. */
export interface PluginInfo {
  readonly type: string;
  readonly name: string;
  /** The socket of the plugin's own service, on this node. */
  readonly endpoint: string;
  /** It speaks of the kubelet's folder by its usual name. */
  readonly inUsualFolder: boolean;
  readonly supportedVersions: readonly string[];
}

/** Takes plugins of one type. `register` throws why one is refused, which the plugin is told. */
export interface PluginHandler {
  register(plugin: PluginInfo): Promise<void>;
  unregister(plugin: PluginInfo): void;
}

export interface PluginRegistryOptions {
  readonly folder: string;
  readonly usualFolder: UsualFolder;
  readonly clock: Clock;
  readonly log: Logger;
  readonly handlers: Readonly<Record<string, PluginHandler>>;
}

const SERVICE = { proto: PLUGIN_PROTOS.registration, name: "pluginregistration.Registration" };
const CALL_TIMEOUT_MS = 10_000;

/**
 * Plugins of the node come and go as sockets in a folder: each is asked what it is, given to who takes that type, and told how that went.
 * https://kubernetes.io/docs/concepts/extend-kubernetes/compute-storage-net/device-plugins/ has the same manner for devices.
 */
export class PluginRegistry {
  readonly #options: PluginRegistryOptions;
  readonly #folder: SocketFolder;
  /** By path of the registration socket. Without a plugin: asked, and tried again with the next look. */
  readonly #known = new Map<string, { mark: string; plugin?: PluginInfo; asking?: boolean }>();

  constructor(options: PluginRegistryOptions) {
    this.#options = options;
    this.#folder = new SocketFolder({ ...options, onSockets: (sockets) => this.#follow(sockets) });
  }

  start(): Promise<void> {
    return this.#folder.start();
  }

  stop(): void {
    this.#folder.stop();
  }

  #follow(sockets: ReadonlyMap<string, string>): void {
    for (const [path, { plugin, mark }] of this.#known) {
      if (sockets.get(path) === mark) continue;
      this.#known.delete(path);
      if (plugin) this.#options.handlers[plugin.type]?.unregister(plugin);
    }
    for (const [path, mark] of sockets) {
      const entry = this.#known.get(path) ?? { mark };
      if (entry.plugin || entry.asking) continue;
      this.#known.set(path, { mark, asking: true });
      void this.#ask(path, mark);
    }
  }

  async #ask(socket: string, mark: string): Promise<void> {
    const { clock, log, handlers, usualFolder } = this.#options;
    const { GrpcConnection } = await import("../../grpc/index.ts");
    const connection = new GrpcConnection(`unix://${socket}`, SERVICE, clock);
    let plugin: PluginInfo | undefined;
    try {
      const info = await connection.call("GetInfo", {}, { timeoutMs: CALL_TIMEOUT_MS });
      const asked: PluginInfo = {
        type: info["type"],
        name: info["name"],
        endpoint: usualFolder.toNode(info["endpoint"] || socket),
        inUsualFolder: usualFolder.has(info["endpoint"]),
        supportedVersions: info["supported_versions"] ?? info["supportedVersions"] ?? [],
      };
      const refused = await this.#take(asked, handlers[asked.type]);
      const answer = { pluginRegistered: refused === undefined, error: refused ?? "" };
      await connection.call("NotifyRegistrationStatus", answer, { timeoutMs: CALL_TIMEOUT_MS }).catch(() => {});
      if (refused !== undefined) log.warn("a node plugin was refused", { plugin: asked.name, socket, why: refused });
      else plugin = asked;
    } catch (error) {
      log.debug("a plugin's socket does not answer", { socket, error: messageOf(error) });
    } finally {
      connection.close();
    }
    const entry = this.#known.get(socket);
    if (entry?.mark === mark) this.#known.set(socket, plugin ? { mark, plugin } : { mark });
    else if (plugin) handlers[plugin.type]?.unregister(plugin);
  }

  async #take(plugin: PluginInfo, handler: PluginHandler | undefined): Promise<string | undefined> {
    try {
      if (!handler) throw invalidArgument(`no handler registered for plugin type: ${plugin.type}`);
      await handler.register(plugin);
      return undefined;
    } catch (error) {
      return messageOf(error);
    }
  }
}
