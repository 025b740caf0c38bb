import { closeSync, mkdirSync, readFileSync, renameSync, symlinkSync, writeFileSync, writeSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import type { Socket } from "node:net";
import path from "node:path";
import { internal } from "../../base/index.ts";
import type { AttachSocket } from "../conmon/index.ts";
import { checked, libc } from "../ffi/index.ts";
import { collect, makePipe, pipeReader, reap, spawn } from "../process/index.ts";
import { EXIT_NOT_EXECUTABLE } from "./errors.ts";
import { ProcessPipes } from "./pipes.ts";

/** What `crun exec` needs to know. */
export interface CrunExecRequest {
  readonly crun: string;
  readonly stateDir: string;
  readonly id: string;
  /** The OCI process, as JSON; without a terminal. */
  readonly process: string;
  readonly stdin: boolean;
  /** What precedes the runtime's command line. */
  readonly prefix: readonly string[];
  /** Files (`tasks` of v1 groups) that the runtime writes itself into before it starts; see `groupless`. */
  readonly join: readonly string[];
}

export interface CrunExec {
  /** Of the process in the container, seen from the host. */
  readonly pid: number;
  /** Of crun, which waits beside it. */
  readonly runtimePid: number;
  readonly stream: AttachSocket;
  /** 128 + signal when it was killed. */
  readonly exitCode: Promise<number>;
}

const memfdCreate = "int memfd_create(const char *name, unsigned int flags)";
const MFD_CLOEXEC = 1;

/**
 * Runs a process in a container with crun alone: no monitor forks, and the daemon holds the pipes. crun tells the pid when the program is about to be
 * executed; what it has to complain of comes by a log of its own, not among the program's output. Errors: internal with crun's words.
 */
export async function crunExec(request: CrunExecRequest): Promise<CrunExec> {
  const spec = checked(libc(memfdCreate)("process", MFD_CLOEXEC), "memfd_create");
  const [log, started, out, err] = [makePipe(), makePipe(), makePipe(), makePipe()];
  const input = request.stdin ? makePipe() : undefined;
  const ours = [log.readFd, started.readFd, out.readFd, err.readFd, ...(input ? [input.writeFd] : [])];
  const theirs = [spec, log.writeFd, started.writeFd, out.writeFd, err.writeFd, ...(input ? [input.readFd] : [])];
  let runtimePid: number;
  try {
    writeSync(spec, request.process);
    const fds = new Map([...(input ? [[0, input.readFd] as const] : []), [1, out.writeFd], [2, err.writeFd]]);
    fds.set(LOG_FD, log.writeFd).set(PID_FD, started.writeFd).set(SPEC_FD, spec);
    runtimePid = spawn({ argv: argvOf(request), fds, newSession: true });
  } catch (error) {
    for (const fd of ours) closeSync(fd);
    throw error;
  } finally {
    for (const fd of theirs) closeSync(fd);
  }
  const stream = new ProcessPipes(out.readFd, err.readFd, input?.writeFd);
  // Both pipes are crun's alone: the program has neither, so their end is crun's end.
  const complaint = collect(log.readFd);
  const exitCode = complaint.then(async (text) => {
    const code = await reap(runtimePid);
    if (text === "" || code !== EXIT_FAILED) return code;
    // It was about to be executed, and could not be: no format of this machine's.
    stream.complain(text);
    return EXIT_NOT_EXECUTABLE;
  });
  const pid = await firstNumber(pipeReader(started.readFd));
  if (pid === undefined) {
    const text = (await complaint).trim();
    await exitCode;
    const said = text === "" ? (await stream.text()).trim() : text;
    stream.close();
    throw internal(said === "" ? "the container runtime failed without a word" : said);
  }
  void exitCode.then(() => stream.finish());
  return { pid, runtimePid, stream, exitCode };
}

const EXIT_FAILED = 1;
const [LOG_FD, PID_FD, SPEC_FD] = [3, 4, 5];

/** The command line; with groups to join, a shell does that and then becomes crun. */
export function argvOf(request: Omit<CrunExecRequest, "process" | "stdin">): string[] {
  const fd = (number: number) => `/proc/self/fd/${number}`;
  const crun = [request.crun, "--root", request.stateDir, `--log=${fd(LOG_FD)}`, "exec"];
  const line = [...crun, "--pid-file", fd(PID_FD), "--process", fd(SPEC_FD), request.id];
  if (request.join.length === 0) return [...request.prefix, ...line];
  const script = `for group; do [ "$group" = -- ] && break; echo 0 > "$group" || exit 1; shift; done; shift; exec "$@"`;
  return ["/bin/sh", "-c", script, "sh", ...request.join, "--", ...line];
}

function firstNumber(socket: Socket): Promise<number | undefined> {
  return new Promise((resolve) => {
    socket.on("error", () => {});
    socket.once("data", (chunk: Buffer) => {
      resolve(Number(chunk.toString()));
      socket.destroy();
    });
    socket.once("close", () => resolve(undefined));
  });
}

/**
 * A state of a container for execs that joined its control groups by themselves: as crun's own but for the group. A process that writes itself
 * into a v1 `tasks` file takes no lock, while crun's move of its child takes one that all moves and forks of the machine share, and after 50 ms of
 * rest a grace period of 10 to 25 ms. Returns the directory to give to crun as `stateDir`.
 */
export function groupless(stateDir: string, id: string, directory: string): string {
  const own = path.join(stateDir, id);
  const copy = path.join(directory, id);
  mkdirSync(copy, { recursive: true, mode: 0o700 });
  const status = JSON.parse(readFileSync(path.join(own, "status"), "utf8")) as Record<string, unknown>;
  // Put in place whole: the crun of another exec may be reading it.
  const fresh = path.join(copy, "status.new");
  writeFileSync(fresh, JSON.stringify({ ...status, "cgroup-path": "" }), { mode: 0o600 });
  renameSync(fresh, path.join(copy, "status"));
  for (const name of ["config.json", "seccomp.bpf"]) {
    try {
      symlinkSync(path.join(own, name), path.join(copy, name));
    } catch {
      // Made before: it is the same.
    }
  }
  return directory;
}

/** Takes crun, which only waits now, out of the container's groups: it is not the container's to count. */
export async function leaveGroups(runtimePid: number, procsFiles: readonly string[]): Promise<void> {
  // It may have ended meanwhile.
  for (const file of procsFiles) await writeFile(file, String(runtimePid)).catch(() => {});
}
