/** The parts of the engine that images need, with the images group of the Docker API on a socket, and berth's registry on a port. */
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import http from "node:http";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { silentLogger, systemClock, systemRandom, type InstanceContext } from "../../src/base/index.ts";
import { createHandler, createServer } from "../../src/docker/index.ts";
import { distributionRoutes } from "../../src/docker/routes/distribution.ts";
import { imageTransferRoutes } from "../../src/docker/routes/image-transfer.ts";
import { imageRoutes } from "../../src/docker/routes/images.ts";
import { FileContentStore } from "../../src/engine/content/index.ts";
import { MemoryEventBus } from "../../src/engine/events/index.ts";
import { Images, PackageBootstrapper } from "../../src/engine/image/index.ts";
import type { RegistryConfig } from "../../src/engine/registry/index.ts";
import { RegistryServer } from "../../src/engine/registry/server/index.ts";
import { OverlaySnapshotStore } from "../../src/engine/snapshot/index.ts";
import { mountsBelow, unmount } from "../../src/host/index.ts";

export interface CliResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ImageEngine {
  readonly context: InstanceContext;
  readonly content: FileContentStore;
  readonly snapshots: OverlaySnapshotStore;
  readonly images: Images;
  /** `127.0.0.1:PORT` of berth's own registry. */
  readonly registry: string;
  docker(...args: string[]): Promise<CliResult>;
  stop(): Promise<void>;
}

export function temporaryDirectory(): string {
  return fs.mkdtempSync(path.join(os.tmpdir(), "berth-images-"));
}

export async function openImageEngine(
  directory: string,
  registryConfig: RegistryConfig = {},
  pullThrough = false,
): Promise<ImageEngine> {
  const dataDir = path.join(directory, "data");
  const context = {
    instance: "imagetest",
    dataDir,
    runtimeDir: path.join(directory, "run"),
    clock: systemClock,
    random: systemRandom,
    log: silentLogger,
  };
  fs.mkdirSync(context.runtimeDir, { recursive: true });
  const content = await FileContentStore.open(context);
  const snapshots = await OverlaySnapshotStore.open(context, content);
  const events = new MemoryEventBus(systemClock);
  const bootstrapper = new PackageBootstrapper(context, path.join(directory, "cache"));
  const images = await Images.open({ context, content, snapshots, events, registry: registryConfig, bootstrapper });
  const registry = await RegistryServer.open({ context, content, images, pullThrough });
  const registryHttp = http.createServer((request, response) => registry.handle(request, response));
  registryHttp.listen(0, "127.0.0.1");
  await once(registryHttp, "listening");
  const socket = path.join(context.runtimeDir, "docker.sock");
  const docker = createServer(
    createHandler(
      [
        ...imageTransferRoutes(images),
        ...imageRoutes({ images, clock: systemClock }),
        ...distributionRoutes(images),
        pingRoute(),
      ],
      silentLogger,
    ),
  );
  docker.listen(socket);
  await once(docker, "listening");
  const config = path.join(directory, "docker-config");
  fs.mkdirSync(config, { recursive: true });
  return {
    context,
    content,
    snapshots,
    images,
    registry: `127.0.0.1:${(registryHttp.address() as net.AddressInfo).port}`,
    docker: (...args) => program("docker", ["--config", config, "-H", `unix://${socket}`, ...args]),
    async stop() {
      for (const server of [docker, registryHttp]) {
        server.close();
        server.closeAllConnections();
      }
      await registry.close();
      images.close();
      await snapshots.close();
      for (const point of mountsBelow(directory)) unmount(point, { lazy: true });
    },
  };
}

function pingRoute() {
  return {
    method: "HEAD" as const,
    path: "/_ping",
    handle: () => ({ status: 200, headers: { "api-version": "1.50" } }),
  };
}

/** Runs a program to its end; any exit code. */
export function program(file: string, args: readonly string[]): Promise<CliResult> {
  return new Promise((resolve) => {
    execFile(file, [...args], { maxBuffer: 64 << 20, timeout: 60_000 }, (error, stdout, stderr) => {
      const code = error ? (typeof error.code === "number" ? error.code : 1) : 0;
      resolve({ code, stdout, stderr });
    });
  });
}

/** Debian's docker-registry on a free port of loopback. */
export async function startDebianRegistry(directory: string): Promise<{ address: string; stop(): Promise<void> }> {
  const port = await freePort();
  const file = path.join(directory, "registry.yml");
  const storage = path.join(directory, "registry-storage");
  fs.mkdirSync(storage, { recursive: true });
  fs.writeFileSync(
    file,
    `version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: ${storage}\nhttp:\n  addr: 127.0.0.1:${port}\n`,
  );
  const child = spawn("docker-registry", ["serve", file], { stdio: "ignore" });
  const address = `127.0.0.1:${port}`;
  for (let tries = 0; ; tries++) {
    const up = await fetch(`http://${address}/v2/`).then(
      (answer) => answer.ok,
      () => false,
    );
    if (up) break;
    if (tries > 200) throw new Error("docker-registry did not start");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return {
    address,
    async stop() {
      if (child.exitCode !== null) return;
      child.kill("SIGKILL");
      await once(child, "exit");
    },
  };
}

export async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
