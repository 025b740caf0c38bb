import { existsSync, readFileSync, statSync, watch } from "node:fs";
import { open } from "node:fs/promises";
import path from "node:path";
import {
  invalidArgument,
  kernelName,
  notFound,
  permissionDenied,
  humanDuration,
  systemClock,
} from "../../base/index.ts";
import { DAEMON_ARGV, daemonStatus, isReady, startDetached, stopDaemon, wait } from "../daemon-process.ts";
import { SocketClient } from "../http.ts";
import { currentInstance } from "../instance.ts";
import { ensurePackages } from "../packages.ts";
import { table } from "../output/table.ts";
import { confirm, print } from "../output/terminal.ts";

export interface UpFlags {
  readonly detach?: boolean;
  readonly yes?: boolean;
  readonly without?: string;
  readonly nodes?: string;
  readonly join?: string;
  readonly simulatedNodes?: string;
  readonly simulatedStages?: string;
  readonly podManifestPath?: string;
}

export async function up(options: UpFlags): Promise<void> {
  const instance = currentInstance();
  requireRoot();
  tellDaemon(options);
  const running = await daemonStatus(instance);
  if (running && isReady(running)) {
    print(`berth "${instance.name}" is already up (process ${running.pid})`);
    if (options.nodes !== undefined)
      for (const name of await (await import("./node.ts")).growTo(Number(options.nodes))) print(name);
    return;
  }
  await ensurePackages(["engine"], options);
  if (!options.detach) {
    // The daemon takes this process over, so that the terminal's signals are its own.
    const env = { ...process.env, BERTH_INSTANCE: instance.name, BERTH_FOREGROUND: "1" } as Record<string, string>;
    process.execve!(DAEMON_ARGV[0]!, DAEMON_ARGV, env);
  }
  const status = await startDetached(instance);
  print(
    `berth "${instance.name}" is up (process ${status.pid}); \`eval "$(berth env)"\` points docker and kubectl at it`,
  );
}

/** The daemon is told by its environment what it is to be. */
function tellDaemon({ without, nodes, join, simulatedNodes, simulatedStages, podManifestPath }: UpFlags): void {
  const parts: Readonly<Record<string, string>> = { cluster: "BERTH_KUBERNETES", engine: "BERTH_ENGINE" };
  if (without !== undefined) {
    const variable = parts[without];
    if (!variable) throw invalidArgument(`there is no part "${without}" to leave out`, { hint: "cluster or engine" });
    process.env[variable] = "0";
  }
  if (nodes !== undefined) {
    if (!/^([1-9]|[12]\d|3[0-2])$/.test(nodes))
      throw invalidArgument(`invalid number of nodes "${nodes}"`, { hint: "1 to 32; --simulated-nodes for more" });
    process.env["BERTH_NODES"] = nodes;
  }
  if (simulatedNodes !== undefined) {
    if (!/^\d{1,4}$/.test(simulatedNodes) || Number(simulatedNodes) > 5000)
      throw invalidArgument(`invalid number of nodes "${simulatedNodes}"`, { hint: "0 to 5000" });
    process.env["BERTH_SIMULATED_NODES"] = simulatedNodes;
  }
  if (join !== undefined) process.env["BERTH_JOIN"] = path.resolve(join);
  if (podManifestPath !== undefined) process.env["BERTH_POD_MANIFEST_PATH"] = path.resolve(podManifestPath);
  if (simulatedStages !== undefined) process.env["BERTH_SIMULATED_STAGES"] = path.resolve(simulatedStages);
}

export async function down(options: { all?: boolean; pods?: boolean }): Promise<void> {
  const instance = currentInstance();
  if (options.all) {
    const { stopAllContainers } = await import("./containers.ts");
    await stopAllContainers();
  }
  const stopped = await stopDaemon(instance, { drain: options.pods });
  print(stopped ? `berth "${instance.name}" is down` : `berth "${instance.name}" was not running`);
}

export async function status(options: { json?: boolean }): Promise<void> {
  const instance = currentInstance();
  const running = await daemonStatus(instance);
  if (options.json) return print(JSON.stringify(running ?? { instance: instance.name, services: [] }));
  if (!running) {
    print(`berth "${instance.name}" is not running`);
    process.exitCode = 3;
    return;
  }
  print(
    `berth "${running.instance}" ${running.version}, process ${running.pid}, up for ${humanDuration(systemClock.nowMs() - running.startedMs)}`,
  );
  print(`data ${running.dataDir}, sockets ${running.runtimeDir}`);
  print();
  const rows = running.services.map(({ name, state, startMs, error }) => [
    name,
    state,
    startMs === undefined ? "" : `${startMs} ms`,
    error ?? "",
  ]);
  print(table(["SERVICE", "STATE", "STARTED IN", ""], rows));
  const isServing = (service: string) =>
    running.services.some(({ name, state }) => name === service && state === "ready");
  if (isServing("docker-api")) {
    const info = await new SocketClient(instance.dockerSocket).json<{ Warnings: string[] | null }>("GET", "/info");
    for (const warning of info.Warnings ?? []) print(`\n${warning}`);
  }
  const { accelerator } = await import("./accelerator.ts");
  for (const line of await accelerator()) print(`\n${line}`);
  if (isServing("api-server")) {
    const { clusterFacts } = await import("./kubeconfig.ts");
    print();
    print(await clusterFacts());
  }
}

/** Removes the instance: the daemon ends, and `--reset` of the daemon's own program takes everything away by name. */
export async function reset(options: { yes?: boolean }): Promise<void> {
  const instance = currentInstance();
  requireRoot();
  await confirm(`Remove all containers, images, volumes and networks of berth "${instance.name}"?`, options);
  await stopDaemon(instance);
  const { findLeftovers, run } = await import("../../host/index.ts");
  // The folders may be gone while links, rules and control groups are not.
  const inKernel = Object.values(findLeftovers(kernelName(instance.name))).flat();
  if (!existsSync(instance.dataDir) && !existsSync(instance.runtimeDir) && inKernel.length === 0)
    return print(`berth "${instance.name}" has nothing to remove`);
  const env = { ...process.env, BERTH_INSTANCE: instance.name } as Record<string, string>;
  const { code, stderr } = await keepingAlive(run([...DAEMON_ARGV, "--reset"], { env }));
  process.stderr.write(stderr);
  if (code !== 0) process.exitCode = code;
  else print(`berth "${instance.name}" is gone`);
}

async function keepingAlive<T>(task: Promise<T>): Promise<T> {
  let done = false;
  const finished = task.finally(() => (done = true));
  while (!done)
    await Promise.race([
      finished.then(
        () => {},
        () => {},
      ),
      wait(50),
    ]);
  return finished;
}

/** The exports that point other clients at this instance. */
export function env(): void {
  const instance = currentInstance();
  print(`export BERTH_INSTANCE=${instance.name}`);
  print(`export DOCKER_HOST=unix://${instance.dockerSocket}`);
  print("export DOCKER_BUILDKIT=0");
  print(`export KUBECONFIG=${instance.kubeconfig}`);
  print(`# eval "$(berth env)"`);
}

/** The daemon's own log, newest generation. */
export async function daemonLogs(options: { follow?: boolean; tail?: string }): Promise<void> {
  const file = path.join(currentInstance().dataDir, "daemon.log");
  if (!existsSync(file))
    throw notFound(`there is no log at ${file}`, { hint: "the daemon of this instance has not run yet" });
  const lines = readFileSync(file, "utf8").trimEnd().split("\n");
  const wanted = options.tail === undefined || options.tail === "all" ? lines : lines.slice(-Number(options.tail));
  print(wanted.join("\n"));
  if (!options.follow) return;
  let offset = statSync(file).size;
  await using handle = await open(file);
  for await (const _change of changes(file)) {
    const { size } = await handle.stat();
    const chunk = Buffer.alloc(Math.max(0, size - offset));
    await handle.read(chunk, 0, chunk.length, offset);
    offset = size;
    process.stdout.write(chunk);
  }
}

async function* changes(file: string): AsyncGenerator<void> {
  let wake = () => {};
  watch(file, () => wake());
  for (;;) {
    await new Promise<void>((resolve) => (wake = resolve));
    yield;
  }
}

function requireRoot(): void {
  if (process.getuid?.() !== 0) {
    throw permissionDenied("the daemon needs root: it makes namespaces, mounts and links", { hint: "sudo berth …" });
  }
}
