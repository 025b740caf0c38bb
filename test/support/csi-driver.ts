/** A CSI driver of the tests' own: volumes are directories that are bind-mounted. It says what it was asked. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import path from "node:path";
import * as grpc from "@grpc/grpc-js";
import { PLUGIN_PROTOS } from "../../src/api/index.ts";
import { attachLoop, detachLoop } from "../../src/host/index.ts";
import { serviceOf, type Wire } from "../../src/node/grpc/index.ts";
import { run } from "./daemon.ts";

export const CSI_DRIVER = "test.csi.berth.dev";

export interface CsiTestDriver {
  /** `NodeStageVolume HANDLE` and so on, in order. */
  readonly calls: string[];
  readonly publishes: Wire[];
  /** Set once the kubelet has said what became of the registration. */
  registered: Wire | undefined;
  /** Where the files of a volume are. */
  folder(handle: string): string;
  /** Registration only: the driver goes on serving. */
  unregister(): Promise<void>;
  stop(): Promise<void>;
}

/** As published manifests have it; where another kubelet is at home, by its own name. */
const KUBELET = existsSync("/var/lib/kubelet/pods") ? undefined : "/var/lib/kubelet";
const usual = (kubeletDir: string, file: string) => (KUBELET ? file.replace(kubeletDir, KUBELET) : file);

/** The requests of a driver whose container has the kubelet's folder mounted under its usual name, as seen from outside. */
function asMounted(kubeletDir: string, request: Wire): Wire {
  const paths = ["stagingTargetPath", "targetPath", "volumePath"].filter((key) => request[key]);
  const outside = paths.map((key) => {
    if (KUBELET) assert.ok(request[key].startsWith(`${KUBELET}/`), request[key]);
    return [key, KUBELET ? request[key].replace(KUBELET, kubeletDir) : request[key]];
  });
  return { ...request, ...Object.fromEntries(outside) };
}

type Method = (request: Wire) => Promise<object>;

export async function startCsiDriver(kubeletDir: string, dataDir: string): Promise<CsiTestDriver> {
  const mounted = new Set<string>();
  const calls: string[] = [];
  const publishes: Wire[] = [];
  const folder = (handle: string) => path.join(dataDir, "volumes", handle);
  const bind = async (source: string, target: string) => {
    mkdirSync(target, { recursive: true });
    if (mounted.has(target)) return;
    const { code, stderr } = await run("mount", ["--bind", source, target]);
    if (code !== 0) throw new Error(stderr);
    mounted.add(target);
  };
  const unbind = async (target: string) => {
    if (mounted.delete(target)) await run("umount", [target]);
  };
  const devices = new Map<string, string>();
  /** A file as a device, on the target. */
  const publishDevice = async (file: string, target: string) => {
    writeFileSync(file, "");
    truncateSync(file, 2 ** 20);
    const device = attachLoop(file);
    devices.set(target, device);
    writeFileSync(target, "");
    const { code, stderr } = await run("mount", ["--bind", device, target]);
    if (code !== 0) throw new Error(stderr);
    mounted.add(target);
  };
  const rpc = (type: string) => ({ rpc: { type } });
  const methods: Record<string, Method> = {
    NodeGetInfo: async () => ({
      nodeId: "test-node-1",
      maxVolumesPerNode: 7,
      accessibleTopology: { segments: { "topology.test.csi/zone": "z1" } },
    }),
    NodeGetCapabilities: async () => ({
      capabilities: [rpc("STAGE_UNSTAGE_VOLUME"), rpc("EXPAND_VOLUME"), rpc("GET_VOLUME_STATS")],
    }),
    NodeGetVolumeStats: async () => ({ usage: [{ unit: "BYTES", total: 1000, used: 300, available: 700 }] }),
    NodeStageVolume: async ({ volumeId, stagingTargetPath, volumeCapability }) => {
      mkdirSync(folder(volumeId), { recursive: true });
      if (volumeCapability.block) return {};
      await bind(folder(volumeId), stagingTargetPath);
      return {};
    },
    NodeUnstageVolume: async ({ stagingTargetPath }) => {
      await unbind(stagingTargetPath);
      return {};
    },
    NodePublishVolume: async (request) => {
      publishes.push(request);
      if (request["volumeCapability"].block) {
        await publishDevice(path.join(folder(request["volumeId"]), "disk"), request["targetPath"]);
        return {};
      }
      const source = request["stagingTargetPath"] || folder(request["volumeId"]);
      mkdirSync(source, { recursive: true });
      await bind(source, request["targetPath"]);
      return {};
    },
    NodeUnpublishVolume: async ({ targetPath }) => {
      await unbind(targetPath);
      const device = devices.get(targetPath);
      if (device !== undefined) detachLoop(device);
      rmSync(targetPath, { recursive: true });
      return {};
    },
    NodeExpandVolume: async ({ capacityRange }) => ({ capacityBytes: capacityRange.requiredBytes }),
  };
  const served = Object.fromEntries(
    Object.entries(methods).map(([name, method]) => [
      name,
      (call: grpc.ServerUnaryCall<Wire, object>, callback: grpc.sendUnaryData<object>) => {
        if (call.request["volumeId"]) calls.push(`${name} ${call.request["volumeId"]}`);
        (async () => method(asMounted(kubeletDir, call.request)))().then(
          (answer) => callback(null, answer),
          (error: Error) => callback({ code: grpc.status.INTERNAL, details: error.message }),
        );
      },
    ]),
  );
  const endpoint = path.join(kubeletDir, "plugins/test/csi.sock");
  mkdirSync(path.dirname(endpoint), { recursive: true });
  const server = await listen(endpoint, { proto: PLUGIN_PROTOS.csi, name: "csi.v1.Node" }, served);
  const driver: CsiTestDriver = {
    calls,
    publishes,
    registered: undefined,
    folder,
    unregister: async () => unregister(),
    stop: async () => {
      unregister();
      server.forceShutdown();
      for (const target of mounted) await run("umount", ["-l", target]);
      for (const device of devices.values()) detachLoop(device);
    },
  };
  const info = {
    type: "CSIPlugin",
    name: CSI_DRIVER,
    endpoint: usual(kubeletDir, endpoint),
    supportedVersions: ["1.0.0"],
  };
  const unregister = await register(kubeletDir, info, (status) => (driver.registered = status));
  return driver;
}

/** Puts a plugin's registration socket into the kubelet's folder. Returns how to take it away. */
export async function register(
  kubeletDir: string,
  info: { readonly name: string },
  onStatus: (status: Wire) => void,
): Promise<() => void> {
  const registration = path.join(kubeletDir, "plugins_registry", `${info.name}-reg.sock`);
  mkdirSync(path.dirname(registration), { recursive: true });
  const service = { proto: PLUGIN_PROTOS.registration, name: "pluginregistration.Registration" };
  const registrar = await listen(registration, service, {
    GetInfo: (_call: unknown, callback: grpc.sendUnaryData<object>) => callback(null, info),
    NotifyRegistrationStatus: (call: grpc.ServerUnaryCall<Wire, object>, callback: grpc.sendUnaryData<object>) => {
      onStatus(call.request);
      callback(null, {});
    },
  });
  return () => {
    registrar.forceShutdown();
    rmSync(registration, { force: true });
  };
}

/** Serves a plugin's service on a socket. */
export async function listen(
  socket: string,
  service: { readonly proto: string; readonly name: string },
  methods: grpc.UntypedServiceImplementation,
): Promise<grpc.Server> {
  const server = new grpc.Server();
  server.addService(serviceOf(service), methods);
  rmSync(socket, { force: true });
  await new Promise<void>((resolve, reject) =>
    server.bindAsync(`unix://${socket}`, grpc.ServerCredentials.createInsecure(), (error) =>
      error ? reject(error) : resolve(),
    ),
  );
  return server;
}
