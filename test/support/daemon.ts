/**
 * A throwaway berth for an end-to-end test: an instance of its own in temporary directories, started for real and reset at the end.
 *
 *     const berth = await startBerth();
 *     after(() => berth.stop());
 *     const { stdout } = await berth.docker("version", "--format", "{{.Server.APIVersion}}");
 */
import { execFile, spawn, type ChildProcess } from "node:child_process";
import { accessSync, chmodSync, constants, mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { DAEMON_ARGV } from "../../src/cli/daemon-process.ts";
import { patience } from "./patience.ts";

export const root = path.resolve(import.meta.dirname, "../..");
/** Generous: a machine that is busy with other tests starts everything many times slower. */
const READY_TIMEOUT_MS = patience(60_000);
const MAX_OUTPUT_BYTES = 64 * 1024 * 1024;

export interface Output {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly input?: string | Buffer;
  readonly cwd?: string;
  readonly env?: Record<string, string>;
  readonly timeoutMs?: number;
}

export interface TestBerth {
  readonly instance: string;
  /** Temporary; everything of the instance is below. */
  readonly directory: string;
  readonly dataDir: string;
  readonly runtimeDir: string;
  readonly dockerSocket: string;
  /** BERTH_*, DOCKER_HOST and so on, over this process's own environment. */
  readonly env: NodeJS.ProcessEnv;
  readonly pid: number;
  /** The real docker CLI; throws when it exits with another code than 0, with its output in the message. */
  docker(...args: string[]): Promise<Output>;
  /** The same, any exit code, with input and so on. */
  dockerWith(options: RunOptions, ...args: string[]): Promise<Output>;
  /** Berth's own CLI, any exit code. */
  berth(...args: string[]): Promise<Output>;
  /** The same, with input, a longer time and so on. */
  berthWith(options: RunOptions, ...args: string[]): Promise<Output>;
  /** kill -9, as a crash. Containers and kernel state stay. */
  kill(): Promise<void>;
  /** Starts the daemon again on the same directories (after `kill` or `down`). */
  start(): Promise<void>;
  /** SIGTERM and wait. */
  down(): Promise<void>;
  /** Ends the daemon and removes everything of the instance. Always call it. Idempotent. */
  stop(): Promise<void>;
  daemonLog(): string;
}

let sequence = 0;

export interface StartOptions {
  readonly env?: Record<string, string>;
  /** False: only the directories; the test starts it. */
  readonly start?: boolean;
  /** The network namespace in which the daemon runs, by its path. */
  readonly netns?: string;
  /** A cluster too, which most tests of the engine do without. */
  readonly kubernetes?: boolean;
}

export async function startBerth(options: StartOptions = {}): Promise<TestBerth> {
  const instance = `t${process.pid}-${sequence++}`;
  const directory = mkdtempSync(path.join(os.tmpdir(), `berth-${instance}-`));
  // Pods and containers with users of their own pass through it.
  chmodSync(directory, 0o711);
  const dataDir = path.join(directory, "data");
  const runtimeDir = path.join(directory, "run");
  const dockerSocket = path.join(runtimeDir, "docker.sock");
  const env: NodeJS.ProcessEnv = {
    ...process.env,
    BERTH_INSTANCE: instance,
    BERTH_DATA_DIR: dataDir,
    BERTH_RUNTIME_DIR: runtimeDir,
    BERTH_CONFIG: path.join(directory, "daemon.json"),
    BERTH_LOG_LEVEL: "debug",
    BERTH_NO_INSTALL: "1",
    // As the launcher sets it: what is measured is what users run.
    NODE_COMPILE_CACHE: process.env["NODE_COMPILE_CACHE"] ?? path.join(root, "node_modules/.cache/berth"),
    BERTH_KUBERNETES: options.kubernetes ? "1" : "0",
    DOCKER_HOST: `unix://${dockerSocket}`,
    DOCKER_BUILDKIT: "0",
    DOCKER_CONFIG: path.join(directory, "docker-config"),
    NO_COLOR: "1",
    ...options.env,
  };
  let daemon: ChildProcess | undefined;
  let exited: Promise<void> = Promise.resolve();
  let errors = "";

  const daemonArgv = (): [string, ...string[]] => {
    const [program, ...args] = DAEMON_ARGV as [string, ...string[]];
    return options.netns ? ["nsenter", `--net=${options.netns}`, program, ...args] : [program, ...args];
  };
  async function start(): Promise<void> {
    const [program, ...args] = daemonArgv();
    const child = spawn(program, args, {
      env,
      stdio: ["ignore", "ignore", "pipe"],
    });
    daemon = child;
    errors = "";
    child.stderr!.on("data", (chunk) => (errors += String(chunk)));
    exited = new Promise((resolve) => child.once("exit", () => resolve()));
    const deadline = Date.now() + READY_TIMEOUT_MS;
    while (!isReady(child)) {
      if (child.exitCode !== null) throw new Error(`the daemon did not start: ${errors}\n${log()}`);
      if (Date.now() > deadline)
        throw new Error(`the daemon is not ready after ${READY_TIMEOUT_MS} ms: ${errors}\n${log()}`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
  /** The daemon writes its pid once all services are ready. */
  function isReady(child: ChildProcess): boolean {
    try {
      return Number(readFileSync(path.join(runtimeDir, "daemon.pid"), "utf8")) === child.pid;
    } catch {
      return false;
    }
  }
  async function end(signal: NodeJS.Signals): Promise<void> {
    daemon?.kill(signal);
    await exited;
    daemon = undefined;
  }
  /** A daemon that a test started with `berth up -d` is no child of ours. */
  async function endDetached(): Promise<void> {
    try {
      const pid = Number(readFileSync(path.join(runtimeDir, "daemon.pid"), "utf8"));
      if (!readFileSync(`/proc/${pid}/environ`, "utf8").includes(`BERTH_INSTANCE=${instance}\0`)) return;
      process.kill(pid, "SIGKILL");
      while (!/\) Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8")))
        await new Promise((resolve) => setTimeout(resolve, 10));
    } catch {
      // There is none, or it is gone.
    }
  }
  const log = () => {
    try {
      return readFileSync(path.join(dataDir, "daemon.log"), "utf8");
    } catch {
      return "";
    }
  };
  const berth: TestBerth = {
    instance,
    directory,
    dataDir,
    runtimeDir,
    dockerSocket,
    env,
    get pid() {
      return daemon!.pid!;
    },
    async docker(...args) {
      const output = await run("docker", args, { env });
      if (output.code !== 0)
        throw new Error(`docker ${args.join(" ")}: exit ${output.code}\n${output.stdout}${output.stderr}`);
      return output;
    },
    dockerWith: ({ env: extra, ...rest }, ...args) => run("docker", args, { ...rest, env: { ...env, ...extra } }),
    berth: (...args) => run(path.join(root, "berth"), args, { env }),
    berthWith: ({ env: extra, ...rest }, ...args) =>
      run(path.join(root, "berth"), args, { ...rest, env: { ...env, ...extra } }),
    kill: () => end("SIGKILL"),
    start,
    down: () => end("SIGTERM"),
    async stop() {
      await end("SIGTERM");
      await endDetached();
      const [program, ...args] = daemonArgv();
      const output = await run(program, [...args, "--reset"], { env });
      if (output.code !== 0) throw new Error(`reset failed: ${output.stderr}`);
      rmSync(directory, { recursive: true, force: true });
    },
    daemonLog: log,
  };
  if (options.start !== false) {
    try {
      await start();
    } catch (error) {
      await berth.stop().catch(() => {});
      throw error;
    }
  }
  return berth;
}

/** Runs a program to its end. Never throws for an exit code. */
export function run(
  file: string,
  args: readonly string[],
  options: { env?: NodeJS.ProcessEnv; input?: string | Buffer; cwd?: string; timeoutMs?: number } = {},
): Promise<Output> {
  return new Promise((resolve) => {
    const child = execFile(
      file,
      args,
      {
        env: options.env ?? process.env,
        cwd: options.cwd,
        timeout: options.timeoutMs ?? patience(120_000),
        maxBuffer: MAX_OUTPUT_BYTES,
      },
      (error, stdout, stderr) => {
        const code = error ? (typeof error.code === "number" ? error.code : 255) : 0;
        resolve({ code, stdout, stderr: error && code === 255 ? `${stderr}${error.message}` : stderr });
      },
    );
    child.stdin?.on("error", () => {});
    child.stdin?.end(options.input ?? "");
  });
}

/** Whether a program is installed: for tests that need somebody else's client. */
export function has(program: string): boolean {
  return (process.env["PATH"] ?? "").split(":").some((directory) => {
    try {
      accessSync(path.join(directory, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
