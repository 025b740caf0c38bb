import { closeSync, readFileSync } from "node:fs";
import { Socket } from "node:net";
import { canceled, deadlineExceeded, internal, notFound, settle, systemClock, MiB } from "../../base/index.ts";
import { checked, errnoName, libc } from "../ffi/index.ts";

/**
 * Starting programs. libuv forks, which copies the page tables of a big process (11 ms at 300 MB); posix_spawn(3) shares them until exec
 * (under 1 ms whatever the size), so everything on a hot path starts here.
 */
export interface SpawnRequest {
  /** `argv[0]` is an absolute path, or looked up in PATH. */
  readonly argv: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Child's descriptor → ours. Those not named are closed; 0, 1 and 2 are /dev/null unless named. */
  readonly fds?: ReadonlyMap<number, number>;
  /** A session of its own, so that no terminal's signals reach it. */
  readonly newSession?: boolean;
}

const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const O_RDWR = 2;
const O_CLOEXEC = 0o2000000;
const F_DUPFD_CLOEXEC = 1030;
const WNOHANG = 1;
const POSIX_SPAWN_SETSIGDEF = 0x04;
const POSIX_SPAWN_SETSIGMASK = 0x08;
const POSIX_SPAWN_SETSID = 0x80;
/** Our ends stand above all descriptors that a child may be given, so that dup2 in the child never overwrites one still needed. */
const LOWEST_OWN_FD = 64;

const bind =
  (prototype: string) =>
  (...args: unknown[]): number =>
    libc(prototype)(...args);
const pipe2 = bind("int pipe2(_Out_ int *fds, int flags)");
const fcntl = bind("int fcntl(int fd, int cmd, int arg)");
const WAITPID = "int waitpid(int pid, _Out_ int *status, int options)";
const waitpid = bind(WAITPID);
const posixSpawnp = bind(
  "int posix_spawnp(_Out_ int *pid, const char *file, void *actions, void *attributes, const char **argv, const char **envp)",
);
const actionsInit = bind("int posix_spawn_file_actions_init(void *actions)");
const actionsDestroy = bind("int posix_spawn_file_actions_destroy(void *actions)");
const actionsDup = bind("int posix_spawn_file_actions_adddup2(void *actions, int from, int to)");
const actionsOpen = bind(
  "int posix_spawn_file_actions_addopen(void *actions, int fd, const char *path, int flags, unsigned int mode)",
);
const attributesInit = bind("int posix_spawnattr_init(void *attributes)");
const attributesFlags = bind("int posix_spawnattr_setflags(void *attributes, short flags)");
const attributesDefaults = bind("int posix_spawnattr_setsigdefault(void *attributes, void *set)");
const attributesMask = bind("int posix_spawnattr_setsigmask(void *attributes, void *set)");

/** Starts a program and returns its pid, which the caller must `reap`. Throws notFound when there is no such program. */
export function spawn(request: SpawnRequest): number {
  const actions = Buffer.alloc(256);
  const attributes = Buffer.alloc(512);
  actionsInit(actions);
  try {
    for (const fd of [0, 1, 2]) {
      if (!request.fds?.has(fd)) actionsOpen(actions, fd, "/dev/null", O_RDWR, 0);
    }
    for (const [to, from] of request.fds ?? []) actionsDup(actions, from, to);
    attributesInit(attributes);
    // Node ignores SIGPIPE, and ignored signals survive exec.
    attributesDefaults(attributes, Buffer.alloc(128, 0xff));
    attributesMask(attributes, Buffer.alloc(128));
    attributesFlags(
      attributes,
      POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | (request.newSession ? POSIX_SPAWN_SETSID : 0),
    );
    const env = { PATH: DEFAULT_PATH, ...request.env };
    const pid = [0];
    const file = request.argv[0]!;
    const errno = posixSpawnp(pid, file, actions, attributes, [...request.argv, null], [...environment(env), null]);
    if (errno !== 0) {
      const name = errnoName(errno);
      if (name === "ENOENT") throw notFound(`${file} is not installed`, { details: { errno: name } });
      throw internal(`cannot start ${file}: ${name}`, { details: { errno: name } });
    }
    return pid[0]!;
  } finally {
    actionsDestroy(actions);
  }
}

function environment(env: Readonly<Record<string, string>>): string[] {
  return Object.entries(env).map(([name, value]) => `${name}=${value}`);
}

/** A pipe whose ends no child inherits by accident. */
export function makePipe(): { readFd: number; writeFd: number } {
  const fds = [0, 0];
  checked(pipe2(fds, O_CLOEXEC), "pipe2");
  const [readFd, writeFd] = fds.map((fd) => {
    const high = checked(fcntl(fd, F_DUPFD_CLOEXEC, LOWEST_OWN_FD), "fcntl");
    closeSync(fd);
    return high;
  });
  return { readFd: readFd!, writeFd: writeFd! };
}

/** The readable end of a pipe as a stream. */
export function pipeReader(fd: number): Socket {
  return new Socket({ fd, readable: true, writable: false });
}

/** Waits for a child that is about to end (a thread of libuv's pool waits with us), and returns its exit code (128 + signal when killed). */
export async function reap(pid: number): Promise<number> {
  for (let attempt = 0; attempt < REAP_AT_ONCE; attempt++) {
    const code = tryReap(pid);
    if (code !== undefined) return code;
    await settle();
  }
  const status = [0];
  const wait = libc(WAITPID) as unknown as {
    async(pid: number, status: number[], options: number, done: (error: unknown, found: number) => void): void;
  };
  const found = await new Promise<number>((resolve) => wait.async(pid, status, 0, (_error, result) => resolve(result)));
  return found < 0 ? LOST_CHILD : exitCodeOf(status[0]!);
}

/** Turns of the event loop before `reap` occupies a thread: a child whose pipes have ended is gone within microseconds. */
const REAP_AT_ONCE = 20;
/** What stands for the exit code of a process that is no child of ours (any more). */
const LOST_CHILD = 255;

/** The exit code of a child that has ended; undefined while it runs; 255 when it is no child of ours (any more). */
export function tryReap(pid: number): number | undefined {
  const status = [0];
  const found = waitpid(pid, status, WNOHANG);
  if (found === 0) return undefined;
  return found < 0 ? LOST_CHILD : exitCodeOf(status[0]!);
}

function exitCodeOf(status: number): number {
  return (status & 0x7f) === 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f);
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export interface RunResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

const MAX_OUTPUT_BYTES = 8 * MiB;
const DEFAULT_TIMEOUT_MS = 60_000;

/** Runs a program to its end. Kills it, and throws, on timeout (deadlineExceeded) and abort (canceled). */
export async function run(argv: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  if (options.signal?.aborted) throw canceled(`${argv[0]} was not started`, { cause: options.signal.reason });
  const [stdin, stdout, stderr] = [options.input === undefined ? undefined : makePipe(), makePipe(), makePipe()];
  let pid: number;
  try {
    pid = spawn({
      argv,
      env: options.env,
      fds: new Map([...(stdin ? [[0, stdin.readFd] as const] : []), [1, stdout.writeFd], [2, stderr.writeFd]]),
    });
  } catch (error) {
    for (const fd of [stdout.readFd, stderr.readFd, ...(stdin ? [stdin.writeFd] : [])]) closeSync(fd);
    throw error;
  } finally {
    for (const fd of [stdout.writeFd, stderr.writeFd, ...(stdin ? [stdin.readFd] : [])]) closeSync(fd);
  }
  let failure: unknown;
  const stop = (error: unknown) => {
    failure ??= error;
    signalProcess(pid, 9);
  };
  const onAbort = () => stop(canceled(`${argv[0]} was canceled`, { cause: options.signal?.reason }));
  options.signal?.addEventListener("abort", onAbort, { once: true });
  const timer = systemClock.after(options.timeoutMs ?? DEFAULT_TIMEOUT_MS, () =>
    stop(deadlineExceeded(`${argv[0]} did not end in time`)),
  );
  try {
    if (stdin) {
      const writer = new Socket({ fd: stdin.writeFd, readable: false, writable: true });
      writer.on("error", () => {});
      writer.end(options.input ?? "");
    }
    const [out, err] = await Promise.all([collect(stdout.readFd), collect(stderr.readFd)]);
    const code = await reap(pid);
    if (failure !== undefined) throw failure;
    return { code, stdout: out, stderr: err };
  } finally {
    timer.cancel();
    options.signal?.removeEventListener("abort", onAbort);
  }
}

/** What comes through a pipe until its end; beyond the bound it is dropped. */
export function collect(fd: number): Promise<string> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const reader = pipeReader(fd);
    reader.on("data", (chunk: Buffer) => {
      size += chunk.length;
      if (size <= MAX_OUTPUT_BYTES) chunks.push(chunk);
    });
    reader.on("error", () => {});
    reader.on("close", () => resolve(Buffer.concat(chunks).toString()));
  });
}

/** False when the process does not exist any more. */
export function signalProcess(pid: number, signal: number): boolean {
  try {
    return process.kill(pid, signal);
  } catch {
    return false;
  }
}

/**
 * Start time of a process in clock ticks since boot; undefined when it is gone or a zombie. A pid together with its start time never
 * names another process later.
 */
export function startTimeOf(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" || fields[0] === "X" ? undefined : Number(fields[19]);
  } catch {
    return undefined;
  }
}
