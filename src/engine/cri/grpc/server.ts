import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { codeOf, failedPrecondition, messageOf, type ErrorCode } from "../../../base/index.ts";
import { RUNTIME_PROTO, type cri } from "../../../api/index.ts";
import type { ConnectionServer } from "../../../host/index.ts";
import type { CriStreaming } from "../types.ts";
import { containerConfig, filter, resources, sandboxConfig, type Wire } from "./from-wire.ts";
import { containerStats, containerStatus, filesystem, image, podStats, sandboxStatus } from "./to-wire.ts";

type Method = (request: Wire) => Promise<object>;

/** The one map from this project's errors to gRPC's. */
const STATUS: Readonly<Partial<Record<ErrorCode, grpc.status>>> = {
  notFound: grpc.status.NOT_FOUND,
  alreadyExists: grpc.status.ALREADY_EXISTS,
  conflict: grpc.status.ABORTED,
  invalidArgument: grpc.status.INVALID_ARGUMENT,
  failedPrecondition: grpc.status.FAILED_PRECONDITION,
  permissionDenied: grpc.status.PERMISSION_DENIED,
  unauthenticated: grpc.status.UNAUTHENTICATED,
  unavailable: grpc.status.UNAVAILABLE,
  notImplemented: grpc.status.UNIMPLEMENTED,
  deadlineExceeded: grpc.status.DEADLINE_EXCEEDED,
  canceled: grpc.status.CANCELLED,
};

/** CRI v1 over gRPC: the runtime and image services as `crictl` and kubelets of others speak to them. */
export function createCriServer(
  runtime: cri.RuntimeService,
  images: cri.ImageService,
  streaming: CriStreaming,
): ConnectionServer {
  const definition = loadSync(RUNTIME_PROTO, {
    longs: Number,
    enums: String,
    defaults: true,
  });
  const { runtime: loaded } = grpc.loadPackageDefinition(definition) as unknown as {
    runtime: { v1: Record<"RuntimeService" | "ImageService", { service: grpc.ServiceDefinition }> };
  };
  const server = new grpc.Server();
  server.addService(loaded.v1.RuntimeService.service, {
    ...implementation(runtimeMethods(runtime, streaming)),
    getContainerEvents: (call: grpc.ServerWritableStream<Wire, object>) => void sendEvents(runtime, call),
  });
  server.addService(loaded.v1.ImageService.service, implementation(imageMethods(images)));
  const injector = server.createConnectionInjector(grpc.ServerCredentials.createInsecure());
  return {
    serve: (socket) => injector.injectConnection(socket),
    close: () => {
      injector.destroy();
      server.forceShutdown();
    },
  };
}

function implementation(methods: Record<string, Method>): grpc.UntypedServiceImplementation {
  return Object.fromEntries(
    Object.entries(methods).map(([name, method]) => [
      name,
      (call: grpc.ServerUnaryCall<Wire, object>, callback: grpc.sendUnaryData<object>) => {
        method(call.request).then(
          (answer) => callback(null, answer),
          (error: unknown) =>
            callback({ code: STATUS[codeOf(error)] ?? grpc.status.UNKNOWN, details: messageOf(error) }),
        );
      },
    ]),
  );
}

function runtimeMethods(runtime: cri.RuntimeService, streaming: CriStreaming): Record<string, Method> {
  // Said now rather than when the URL is opened.
  const running = async (containerId: string): Promise<string> => {
    const { id, state } = await runtime.containerStatus(containerId);
    if (state !== "CONTAINER_RUNNING") throw failedPrecondition(`container ${id} is not running`);
    return id;
  };
  return {
    version: async () => ({ version: "0.1.0", ...(await runtime.version()) }),
    status: async () => ({ status: await runtime.status() }),
    runtimeConfig: async () => ({ linux: { cgroupDriver: "CGROUPFS" } }),
    updateRuntimeConfig: async ({ runtimeConfig }) => {
      const podCidr = runtimeConfig?.networkConfig?.podCidr as string | undefined;
      if (podCidr) await runtime.updateRuntimeConfig({ podCidr });
      return {};
    },
    runPodSandbox: async ({ config, runtimeHandler }) => ({
      podSandboxId: await runtime.runPodSandbox(sandboxConfig(config), runtimeHandler),
    }),
    stopPodSandbox: async ({ podSandboxId }) => done(runtime.stopPodSandbox(podSandboxId)),
    removePodSandbox: async ({ podSandboxId }) => done(runtime.removePodSandbox(podSandboxId)),
    podSandboxStatus: async ({ podSandboxId }) => ({
      status: sandboxStatus(await runtime.podSandboxStatus(podSandboxId)),
    }),
    listPodSandbox: async (request) => ({ items: await runtime.listPodSandbox(filter(request["filter"])) }),
    createContainer: async ({ podSandboxId, config, sandboxConfig: sandbox }) => ({
      containerId: await runtime.createContainer(podSandboxId, containerConfig(config), sandboxConfig(sandbox)),
    }),
    startContainer: async ({ containerId }) => done(runtime.startContainer(containerId)),
    stopContainer: async ({ containerId, timeout }) => done(runtime.stopContainer(containerId, timeout)),
    removeContainer: async ({ containerId }) => done(runtime.removeContainer(containerId)),
    listContainers: async (request) => ({ containers: await runtime.listContainers(filter(request["filter"])) }),
    containerStatus: async ({ containerId }) => ({
      status: containerStatus(await runtime.containerStatus(containerId)),
    }),
    updateContainerResources: async ({ containerId, linux }) =>
      done(runtime.updateContainerResources(containerId, resources(linux))),
    updatePodSandboxResources: async (request) =>
      done(runtime.updatePodSandboxResources(request["podSandboxId"], resources(request["resources"]))),
    reopenContainerLog: async ({ containerId }) => done(runtime.reopenContainerLog(containerId)),
    execSync: async ({ containerId, cmd, timeout }) => runtime.execSync(containerId, cmd, timeout),
    exec: async ({ containerId, cmd, tty, stdin, stdout, stderr }) => ({
      url: await streaming.exec(await running(containerId), { command: cmd, tty, stdin, stdout, stderr }),
    }),
    attach: async ({ containerId, tty, stdin, stdout, stderr }) => ({
      url: await streaming.attach(await running(containerId), { tty, stdin, stdout, stderr }),
    }),
    portForward: async ({ podSandboxId, port }) => ({
      url: await streaming.portForward((await runtime.podSandboxStatus(podSandboxId)).id, port),
    }),
    containerStats: async ({ containerId }) => ({ stats: containerStats(await runtime.containerStats(containerId)) }),
    listContainerStats: async (request) => ({
      stats: (await runtime.listContainerStats(filter(request["filter"]))).map(containerStats),
    }),
    podSandboxStats: async ({ podSandboxId }) => ({ stats: podStats(await runtime.podSandboxStats(podSandboxId)) }),
    listPodSandboxStats: async (request) => ({
      stats: (await runtime.listPodSandboxStats(filter(request["filter"]))).map(podStats),
    }),
  };
}

function imageMethods(images: cri.ImageService): Record<string, Method> {
  return {
    listImages: async (request) => {
      const wanted = request["filter"]?.image?.image as string | undefined;
      const found = await images.listImages(wanted ? { image: { image: wanted } } : undefined);
      return { images: found.map(image) };
    },
    imageStatus: async (request) => {
      const found = await images.imageStatus(request["image"]);
      return found ? { image: image(found) } : {};
    },
    pullImage: async (request) => ({
      imageRef: await images.pullImage(request["image"], request["auth"] ? { auth: request["auth"] } : {}),
    }),
    removeImage: async (request) => done(images.removeImage(request["image"])),
    imageFsInfo: async () => {
      const { imageFilesystems, containerFilesystems } = await images.imageFsInfo();
      return {
        imageFilesystems: imageFilesystems.map(filesystem),
        containerFilesystems: containerFilesystems.map(filesystem),
      };
    },
  };
}

async function done(action: Promise<void>): Promise<object> {
  await action;
  return {};
}

async function sendEvents(runtime: cri.RuntimeService, call: grpc.ServerWritableStream<Wire, object>): Promise<void> {
  const stop = new AbortController();
  call.on("cancelled", () => stop.abort());
  for await (const { containerId, type, createdAt } of runtime.containerEvents(stop.signal))
    call.write({ containerId, containerEventType: type, createdAt });
  call.end();
}
