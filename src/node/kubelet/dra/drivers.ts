import { PLUGIN_PROTOS } from "../../../api/index.ts";
import { failedPrecondition, invalidArgument, type Clock, type Timer } from "../../../base/index.ts";
import type { GrpcConnection, GrpcService, Wire } from "../../grpc/index.ts";
import type { KubeletApi } from "../kubelet-api.ts";
import type { PluginHandler, PluginInfo } from "../plugins/registry.ts";
import type { ClaimRef, PreparedDevice } from "./types.ts";

/** By what a driver says that it serves, newest first. */
const SERVICES: ReadonlyArray<readonly [version: string, service: GrpcService]> = [
  ["v1.DRAPlugin", { proto: PLUGIN_PROTOS.dra, name: "k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin" }],
  ["v1beta1.DRAPlugin", { proto: PLUGIN_PROTOS.draV1beta1, name: "k8s.io.kubelet.pkg.apis.dra.v1beta1.DRAPlugin" }],
];
/** Upstream's; a driver may start a service for a claim. */
const CALL_TIMEOUT_MS = 45_000;
/** A driver that is updated is back by then; what it offered stays for so long. */
const WIPE_MS = 30_000;

/** The driver of dynamic resources on this node. */
export class DraDriver {
  readonly name: string;
  readonly #connection: GrpcConnection;

  constructor(name: string, connection: GrpcConnection) {
    this.name = name;
    this.#connection = connection;
  }

  /** Makes a claim's devices ready. Throws what the driver has against it. */
  async prepare(claim: ClaimRef): Promise<PreparedDevice[]> {
    const answer = await this.#call("NodePrepareResources", claim);
    return ((answer["devices"] ?? []) as Wire[]).map((device) => ({
      driver: this.name,
      pool: device["poolName"],
      device: device["deviceName"],
      requests: device["requestNames"] ?? [],
      cdiDevices: device["cdiDeviceIds"] ?? [],
    }));
  }

  async unprepare(claim: ClaimRef): Promise<void> {
    await this.#call("NodeUnprepareResources", claim);
  }

  async #call(method: string, claim: ClaimRef): Promise<Wire> {
    const { claims } = await this.#connection.call(method, { claims: [claim] }, { timeoutMs: CALL_TIMEOUT_MS });
    const answer = (claims as Record<string, Wire> | undefined)?.[claim.uid];
    if (!answer) throw failedPrecondition(`${method} skipped 1 ResourceClaims`);
    if (answer["error"])
      throw failedPrecondition(`${method} failed for ResourceClaim ${claim.name}: ${answer["error"]}`);
    return answer;
  }

  close(): void {
    this.#connection.close();
  }
}

export interface DraDriversOptions {
  readonly api: Pick<KubeletApi, "removeResourceSlices">;
  readonly clock: Clock;
}

/** The drivers of dynamic resources that are registered on this node. */
export class DraDrivers implements PluginHandler {
  readonly #options: DraDriversOptions;
  readonly #drivers = new Map<string, { driver: DraDriver; endpoint: string }>();
  readonly #wiping = new Map<string, Timer>();

  constructor(options: DraDriversOptions) {
    this.#options = options;
  }

  /** Throws when no such driver runs here. */
  get(name: string): DraDriver {
    const entry = this.#drivers.get(name);
    if (!entry) throw failedPrecondition(`DRA driver ${name} is not registered`);
    return entry.driver;
  }

  async register({ name, endpoint, supportedVersions }: PluginInfo): Promise<void> {
    const service = SERVICES.find(([version]) => supportedVersions.includes(version))?.[1];
    if (!service)
      throw invalidArgument(
        `none of the DRA services of driver ${name} (${supportedVersions.join(", ") || "none"}) is one of ${SERVICES.map(([version]) => version).join(", ")}`,
      );
    const { GrpcConnection } = await import("../../grpc/index.ts");
    this.#wiping.get(name)?.cancel();
    this.#drivers.get(name)?.driver.close();
    const connection = new GrpcConnection(`unix://${endpoint}`, service, this.#options.clock);
    this.#drivers.set(name, { driver: new DraDriver(name, connection), endpoint });
  }

  /** Its devices can't be had any more, unless it is back soon. */
  unregister({ name, endpoint }: PluginInfo): void {
    const entry = this.#drivers.get(name);
    if (entry?.endpoint !== endpoint) return;
    this.#drivers.delete(name);
    entry.driver.close();
    const wipe = () => void this.#options.api.removeResourceSlices(name).catch(() => {});
    this.#wiping.set(name, this.#options.clock.after(WIPE_MS, wipe));
  }

  close(): void {
    for (const timer of this.#wiping.values()) timer.cancel();
    for (const { driver } of this.#drivers.values()) driver.close();
    this.#drivers.clear();
  }
}
