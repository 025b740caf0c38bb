/** A device plugin of the tests' own: a resource of two devices. It says what it was asked. */
import { rmSync } from "node:fs";
import path from "node:path";
import * as grpc from "@grpc/grpc-js";
import { PLUGIN_PROTOS } from "../../src/api/index.ts";
import { systemClock } from "../../src/base/index.ts";
import { GrpcConnection, type Wire } from "../../src/node/grpc/index.ts";
import { listen } from "./csi-driver.ts";

export interface TestDevicePlugin {
  /** `Allocate a,b`, `PreStartContainer a`, in order. */
  readonly calls: string[];
  /** Says `ListAndWatch` anew. */
  health(id: string, health: "Healthy" | "Unhealthy"): void;
  /** As plugins do when kubelet.sock was made anew. */
  register(): Promise<void>;
  stop(): Promise<void>;
}

export interface DevicePluginOptions {
  readonly kubeletDir: string;
  readonly resource: string;
  readonly devices: readonly string[];
  /** What a container gets with these. */
  readonly edits: (ids: readonly string[]) => object;
}

/** Registers when the kubelet's socket is there. */
export async function startDevicePlugin(options: DevicePluginOptions): Promise<TestDevicePlugin> {
  const { kubeletDir, resource, devices, edits } = options;
  const folder = path.join(kubeletDir, "device-plugins");
  const endpoint = "test-widgets.sock";
  const calls: string[] = [];
  const state = new Map(devices.map((id) => [id, "Healthy"]));
  const watchers = new Set<grpc.ServerWritableStream<Wire, object>>();
  const all = () => ({ devices: [...state].map(([ID, health]) => ({ ID, health, topology: { nodes: [{ ID: 0 }] } })) });
  const answer = (make: (request: Wire) => object) => (call: { request: Wire }, callback: grpc.sendUnaryData<object>) =>
    callback(null, make(call.request));
  const methods = {
    GetDevicePluginOptions: answer(() => ({ preStartRequired: true, getPreferredAllocationAvailable: true })),
    ListAndWatch: (call: grpc.ServerWritableStream<Wire, object>) => {
      watchers.add(call);
      call.on("cancelled", () => watchers.delete(call));
      call.write(all());
    },
    // The last ones first: not what a kubelet would take by itself.
    GetPreferredAllocation: answer(({ containerRequests: [request] }) => ({
      containerResponses: [
        {
          deviceIDs: ([...request.availableDeviceIDs] as string[])
            .toSorted()
            .toReversed()
            .slice(0, request.allocationSize),
        },
      ],
    })),
    Allocate: answer(({ containerRequests: [{ devicesIds }] }) => {
      calls.push(`Allocate ${devicesIds.join()}`);
      return { containerResponses: [edits(devicesIds)] };
    }),
    PreStartContainer: answer(({ devicesIds }) => {
      calls.push(`PreStartContainer ${devicesIds.join()}`);
      return {};
    }),
  };
  const service = { proto: PLUGIN_PROTOS.deviceplugin, name: "v1beta1.DevicePlugin" };
  let server: grpc.Server | undefined;
  const plugin: TestDevicePlugin = {
    calls,
    health(id, health) {
      state.set(id, health);
      for (const watcher of watchers) watcher.write(all());
    },
    async register() {
      server?.forceShutdown();
      watchers.clear();
      server = await listen(path.join(folder, endpoint), service, methods);
      const registration = { proto: PLUGIN_PROTOS.deviceplugin, name: "v1beta1.Registration" };
      const connection = new GrpcConnection(`unix://${folder}/kubelet.sock`, registration, systemClock);
      try {
        await connection.call("Register", { version: "v1beta1", endpoint, resourceName: resource });
      } finally {
        connection.close();
      }
    },
    async stop() {
      server?.forceShutdown();
      rmSync(path.join(folder, endpoint), { force: true });
    },
  };
  await plugin.register();
  return plugin;
}
