/**
 * The parts of the engine that a build needs, in this process, with the build group of the Docker API on a socket: for tests and benchmarks of
 * builds that shall not depend on the rest of the daemon.
 */
import { execFile } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { Readable } from "node:stream";
import tar from "tar-stream";
import { silentLogger, systemClock, systemRandom, type InstanceContext, type Logger } from "../../src/base/index.ts";
import { bytes, createHandler, createServer } from "../../src/docker/index.ts";
import { buildRoutes } from "../../src/docker/routes/build.ts";
import { openBuilder, type Builder } from "../../src/engine/build/index.ts";
import { Core, createRunOnce, ProcessIsolation } from "../../src/engine/container/index.ts";
import { FileContentStore } from "../../src/engine/content/index.ts";
import { MemoryEventBus } from "../../src/engine/events/index.ts";
import { Images } from "../../src/engine/image/index.ts";
import { openNetworks, type NetworkService } from "../../src/engine/network/index.ts";
import { OverlaySnapshotStore } from "../../src/engine/snapshot/index.ts";
import { LinuxNetlinkHost, LinuxNetns, LinuxNft, LinuxSockets, mountsBelow } from "../../src/host/index.ts";

export interface BuildEngine {
  readonly context: InstanceContext;
  readonly directory: string;
  readonly socket: string;
  readonly images: Images;
  readonly snapshots: OverlaySnapshotStore;
  readonly networks: NetworkService;
  readonly builder: Builder;
  /** The real docker CLI with the classic builder; any exit code. */
  docker(args: readonly string[], options?: { cwd?: string; signal?: AbortSignal }): Promise<CliResult>;
  /** Mounts of this instance: what a build leaves behind must be none. */
  mounts(): string[];
  stop(): Promise<void>;
}

export interface CliResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

const BUSYBOX_APPLETS = [
  "sh",
  "cat",
  "echo",
  "ls",
  "id",
  "true",
  "false",
  "sleep",
  "mkdir",
  "touch",
  "rm",
  "test",
  "stat",
  "env",
  "wc",
  "dd",
  "ip",
  "grep",
  "chmod",
  "date",
  "pwd",
  "printf",
  "mount",
  "readlink",
];

export async function startBuildEngine(log: Logger = silentLogger): Promise<BuildEngine> {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "berth-be-"));
  const context: InstanceContext = {
    instance: `be${process.pid}`,
    dataDir: path.join(directory, "data"),
    runtimeDir: path.join(directory, "run"),
    clock: systemClock,
    random: systemRandom,
    log,
  };
  for (const each of [context.dataDir, context.runtimeDir]) fs.mkdirSync(each, { mode: 0o711 });
  const events = new MemoryEventBus(systemClock);
  const content = await FileContentStore.open(context);
  const snapshots = await OverlaySnapshotStore.open(context, content);
  const images = await Images.open({ context, content, snapshots, events });
  const netns = new LinuxNetns();
  const hosts = { netlink: new LinuxNetlinkHost(), netns, nft: new LinuxNft(), sockets: new LinuxSockets() };
  const networks = await openNetworks(context, { hosts, events });
  const core = new Core(context);
  await core.open();
  const isolation = new ProcessIsolation(core);
  const builder = await openBuilder({ context, images, snapshots, networks, runOnce: createRunOnce(isolation) });
  const server = createServer(
    createHandler(
      [
        ...buildRoutes({ builder, clock: systemClock }),
        ...(["GET", "HEAD"] as const).map((method) => ({
          method,
          path: "/_ping",
          handle: () => ({ ...bytes(method === "GET" ? "OK" : "", "text/plain"), headers: { "builder-version": "1" } }),
        })),
      ],
      log,
    ),
  );
  const socket = path.join(directory, "docker.sock");
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  const env = {
    ...process.env,
    DOCKER_HOST: `unix://${socket}`,
    DOCKER_BUILDKIT: "0",
    DOCKER_CONFIG: path.join(directory, "config"),
  };
  return {
    context,
    directory,
    socket,
    images,
    snapshots,
    networks,
    builder,
    docker: (args, options = {}) =>
      new Promise((resolve) => {
        execFile("docker", args, { env, maxBuffer: 64 << 20, ...options }, (error, stdout, stderr) => {
          const code = error ? (typeof error.code === "number" ? error.code : 1) : 0;
          resolve({ code, stdout, stderr });
        });
      }),
    mounts: () => mountsBelow(path.join(context.runtimeDir, "build")),
    async stop() {
      server.close();
      server.closeAllConnections?.();
      for (const sandbox of await isolation.recover()) await sandbox.destroy();
      await networks.destroyAll();
      await networks.close();
      await core.destroy();
      core.close();
      await snapshots.close();
      images.close();
      events.close();
      fs.rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** A base image out of the machine's static busybox, with a passwd of two users. */
export async function importBusybox(images: Images, name = "busybox:latest"): Promise<void> {
  const pack = tar.pack();
  for (const folder of ["bin/", "etc/", "tmp/", "proc/", "sys/", "dev/"])
    pack.entry({ name: folder, type: "directory", mode: folder === "tmp/" ? 0o1777 : 0o755 });
  pack.entry({ name: "bin/busybox", mode: 0o755 }, fs.readFileSync("/usr/bin/busybox"));
  for (const applet of BUSYBOX_APPLETS) pack.entry({ name: `bin/${applet}`, type: "symlink", linkname: "busybox" });
  pack.entry({ name: "etc/passwd" }, "root:x:0:0:root:/root:/bin/sh\napp:x:101:102::/:/bin/sh\n");
  pack.entry({ name: "etc/group" }, "root:x:0:\napp:x:102:\n");
  pack.finalize();
  await images.import(Readable.from(pack), { tag: name, config: { Env: ["PATH=/bin"], Cmd: ["sh"] } });
}
