import { PLUGIN_PROTOS } from "../../../api/index.ts";
import type { Clock } from "../../../base/index.ts";
import type { GrpcConnection, Wire } from "../../grpc/index.ts";

/** A device as its plugin describes it. */
export interface PluginDevice {
  readonly id: string;
  readonly healthy: boolean;
  /** NUMA nodes that it is near to. */
  readonly nodes: readonly number[];
}

/** What a plugin wants a container to have for its devices. */
export interface ContainerEdits {
  readonly envs: Readonly<Record<string, string>>;
  readonly mounts: ReadonlyArray<{ containerPath: string; hostPath: string; readOnly: boolean }>;
  readonly devices: ReadonlyArray<{ containerPath: string; hostPath: string; permissions: string }>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly cdiDevices: readonly string[];
}

export interface PluginOptions {
  readonly preStartRequired: boolean;
  readonly prefersDevices: boolean;
}

const SERVICE = { proto: PLUGIN_PROTOS.deviceplugin, name: "v1beta1.DevicePlugin" };
/** Upstream's, for PreStartContainer; a plugin may reset its hardware meanwhile. */
const CALL_TIMEOUT_MS = 30_000;

/** One device plugin: the devices of one resource. https://kubernetes.io/docs/concepts/extend-kubernetes/compute-storage-net/device-plugins/ */
export class DevicePlugin {
  readonly options: PluginOptions;
  readonly #connection: GrpcConnection;

  private constructor(connection: GrpcConnection, options: PluginOptions) {
    this.#connection = connection;
    this.options = options;
  }

  /** Asks the plugin on that socket what it can do. Throws when it does not answer. */
  static async connect(socket: string, clock: Clock): Promise<DevicePlugin> {
    const { GrpcConnection } = await import("../../grpc/index.ts");
    const connection = new GrpcConnection(`unix://${socket}`, SERVICE, clock);
    try {
      const options = await connection.call("GetDevicePluginOptions", {}, { timeoutMs: CALL_TIMEOUT_MS });
      return new DevicePlugin(connection, {
        preStartRequired: options["preStartRequired"] ?? false,
        prefersDevices: options["getPreferredAllocationAvailable"] ?? false,
      });
    } catch (error) {
      connection.close();
      throw error;
    }
  }

  /** All its devices, again with each change, until the signal. Ends when the plugin does. */
  async *devices(signal: AbortSignal): AsyncGenerator<PluginDevice[], void, undefined> {
    for await (const { devices } of this.#connection.stream("ListAndWatch", {}, signal))
      yield (devices as Wire[]).map(({ ID, health, topology }) => ({
        id: ID,
        healthy: health === "Healthy",
        nodes: ((topology?.nodes ?? []) as Wire[]).map((node) => Number(node["ID"])),
      }));
  }

  /** Which of the available devices it would take, so many, with those among them that must be. */
  async preferred(available: readonly string[], mustInclude: readonly string[], size: number): Promise<string[]> {
    const request = { availableDeviceIDs: available, mustIncludeDeviceIDs: mustInclude, allocationSize: size };
    const answer = await this.#call("GetPreferredAllocation", { containerRequests: [request] });
    return answer["containerResponses"]?.[0]?.deviceIDs ?? [];
  }

  async allocate(ids: readonly string[]): Promise<ContainerEdits> {
    const answer = await this.#call("Allocate", { containerRequests: [{ devicesIds: ids }] });
    const edits: Wire = answer["containerResponses"]?.[0] ?? {};
    return {
      envs: edits["envs"] ?? {},
      mounts: edits["mounts"] ?? [],
      devices: edits["devices"] ?? [],
      annotations: edits["annotations"] ?? {},
      cdiDevices: ((edits["cdiDevices"] ?? []) as Wire[]).map(({ name }) => name as string),
    };
  }

  async preStart(ids: readonly string[]): Promise<void> {
    await this.#call("PreStartContainer", { devicesIds: ids });
  }

  close(): void {
    this.#connection.close();
  }

  #call(method: string, request: object): Promise<Wire> {
    return this.#connection.call(method, request, { timeoutMs: CALL_TIMEOUT_MS });
  }
}
