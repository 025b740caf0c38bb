import { PLUGIN_PROTOS } from "../../../api/index.ts";
import type { Clock } from "../../../base/index.ts";
import type { GrpcConnection, Wire } from "../../grpc/index.ts";
import type { VolumeUsage } from "../volumes/stats.ts";

type Strings = Readonly<Record<string, string>>;

/** How a volume is to be used: as CSI's VolumeCapability. */
export interface VolumeCapability {
  /** This or `mount`. */
  readonly block?: Readonly<Record<string, never>>;
  readonly mount?: {
    readonly fsType: string;
    readonly mountFlags: readonly string[];
    readonly volumeMountGroup?: string;
  };
  readonly accessMode: { readonly mode: string };
}

export interface StageRequest {
  readonly volumeId: string;
  readonly stagingTargetPath: string;
  readonly volumeCapability: VolumeCapability;
  readonly publishContext: Strings;
  readonly secrets: Strings;
  readonly volumeContext: Strings;
}
export interface PublishRequest extends StageRequest {
  readonly targetPath: string;
  readonly readonly: boolean;
}

export interface NodeInfo {
  readonly nodeId: string;
  /** 0: no limit. */
  readonly maxVolumes: number;
  readonly topology: Strings;
}

/** Fields of requests that are paths. */
const PATHS: ReadonlySet<string> = new Set(["stagingTargetPath", "targetPath", "volumePath"]);
/** Drivers may take their time: they format disks. Upstream's csiTimeout. */
const CALL_TIMEOUT_MS = 120_000;

/** The node service of one CSI driver on this node. */
export class CsiDriver {
  readonly name: string;
  readonly #connection: GrpcConnection;
  readonly #named: (target: string) => string;
  readonly capabilities: ReadonlySet<string>;
  readonly info: NodeInfo;

  private constructor(
    name: string,
    { connection, named }: { connection: GrpcConnection; named: (target: string) => string },
    info: NodeInfo,
    capabilities: ReadonlySet<string>,
  ) {
    this.name = name;
    this.#connection = connection;
    this.#named = named;
    this.info = info;
    this.capabilities = capabilities;
  }

  /** Asks the driver what it is on this node and what it can do. `named`: how it calls a path. Throws when it does not answer. */
  static async connect(
    name: string,
    endpoint: string,
    named: (target: string) => string,
    clock: Clock,
  ): Promise<CsiDriver> {
    const { GrpcConnection } = await import("../../grpc/index.ts");
    const service = { proto: PLUGIN_PROTOS.csi, name: "csi.v1.Node" };
    const connection = new GrpcConnection(`unix://${endpoint}`, service, clock);
    try {
      const [info, can] = await Promise.all([
        connection.call("NodeGetInfo", {}, { timeoutMs: CALL_TIMEOUT_MS }),
        connection.call("NodeGetCapabilities", {}, { timeoutMs: CALL_TIMEOUT_MS }),
      ]);
      const capabilities = (can["capabilities"] ?? []) as ReadonlyArray<{ rpc?: { type?: string } }>;
      return new CsiDriver(
        name,
        { connection, named },
        {
          nodeId: info["nodeId"],
          maxVolumes: info["maxVolumesPerNode"] ?? 0,
          topology: info["accessibleTopology"]?.segments ?? {},
        },
        new Set(capabilities.map(({ rpc }) => rpc?.type ?? "")),
      );
    } catch (error) {
      connection.close();
      throw error;
    }
  }

  get stages(): boolean {
    return this.capabilities.has("STAGE_UNSTAGE_VOLUME");
  }

  async stage(request: StageRequest): Promise<void> {
    await this.#call("NodeStageVolume", request);
  }
  async unstage(volumeId: string, stagingTargetPath: string): Promise<void> {
    await this.#call("NodeUnstageVolume", { volumeId, stagingTargetPath });
  }
  async publish(request: PublishRequest): Promise<void> {
    await this.#call("NodePublishVolume", request);
  }
  async unpublish(volumeId: string, targetPath: string): Promise<void> {
    await this.#call("NodeUnpublishVolume", { volumeId, targetPath });
  }
  /** Returns the size that the volume has now, in bytes; 0 when the driver does not say. */
  async expand(request: {
    readonly volumeId: string;
    readonly volumePath: string;
    readonly stagingTargetPath: string;
    readonly capacityRange: { readonly requiredBytes: number };
    readonly volumeCapability: VolumeCapability;
    readonly secrets: Strings;
  }): Promise<number> {
    return (await this.#call("NodeExpandVolume", request))["capacityBytes"] ?? 0;
  }
  /** How full a volume is. */
  async usage(request: {
    readonly volumeId: string;
    readonly volumePath: string;
    readonly stagingTargetPath: string;
  }): Promise<VolumeUsage> {
    const figures = ((await this.#call("NodeGetVolumeStats", request))["usage"] ?? []) as Wire[];
    const of = (unit: string) => figures.find((figure) => figure["unit"] === unit);
    const [bytes, inodes] = [of("BYTES"), of("INODES")];
    return {
      ...(bytes && {
        capacityBytes: bytes["total"],
        availableBytes: bytes["available"],
        usedBytes: bytes["used"],
      }),
      ...(inodes && { inodes: inodes["total"], inodesFree: inodes["available"], inodesUsed: inodes["used"] }),
    };
  }
  #call(method: string, request: object): ReturnType<GrpcConnection["call"]> {
    const named = Object.entries(request).map(([key, value]) => [key, PATHS.has(key) ? this.#named(value) : value]);
    return this.#connection.call(method, Object.fromEntries(named) as object, { timeoutMs: CALL_TIMEOUT_MS });
  }

  close(): void {
    this.#connection.close();
  }
}
