/** A driver of dynamic resources of the tests' own. It says what it was asked. */
import path from "node:path";
import type * as grpc from "@grpc/grpc-js";
import { PLUGIN_PROTOS } from "../../src/api/index.ts";
import type { Wire } from "../../src/node/grpc/index.ts";
import { listen, register } from "./csi-driver.ts";

export const DRA_DRIVER = "test.dra.berth.dev";

export interface DraTestDriver {
  /** `NodePrepareResources CLAIM` and so on, in order. */
  readonly calls: string[];
  stop(): void;
}

/** Every claim gets the device `d0` of the pool `pool`, with these CDI names. */
export async function startDraDriver(
  kubeletDir: string,
  dataDir: string,
  cdiDeviceIds: readonly string[],
): Promise<DraTestDriver> {
  const calls: string[] = [];
  const device = { requestNames: ["one"], poolName: "pool", deviceName: "d0", cdiDeviceIds };
  const method =
    (name: string, answer: object) =>
    ({ request }: grpc.ServerUnaryCall<Wire, object>, callback: grpc.sendUnaryData<object>) => {
      const claims = request["claims"] as Wire[];
      for (const claim of claims) calls.push(`${name} ${claim["name"]}`);
      callback(null, { claims: Object.fromEntries(claims.map((claim) => [claim["uid"], answer])) });
    };
  const endpoint = path.join(dataDir, "dra.sock");
  const service = { proto: PLUGIN_PROTOS.dra, name: "k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin" };
  const server = await listen(endpoint, service, {
    NodePrepareResources: method("NodePrepareResources", { devices: [device] }),
    NodeUnprepareResources: method("NodeUnprepareResources", {}),
  });
  const registered = Promise.withResolvers<Wire>();
  const info = { type: "DRAPlugin", name: DRA_DRIVER, endpoint, supportedVersions: ["v1.DRAPlugin"] };
  const unregister = await register(kubeletDir, info, registered.resolve);
  await registered.promise;
  return {
    calls,
    stop() {
      unregister();
      server.forceShutdown();
    },
  };
}
