import { PassThrough, Writable } from "node:stream";
import type { cri } from "../../api/index.ts";
import { deadlineExceeded, resourceExhausted, type Clock } from "../../base/index.ts";
import type { AttachStream, RuntimeExec, TtySize } from "../container/index.ts";

/** What `execSync` keeps of a command's output; probes and hooks say little. */
const MAX_SYNC_BYTES = 16 * 1024 * 1024;

interface SessionParts {
  readonly stream: AttachStream;
  readonly exit: Promise<number>;
  readonly resize: (size: TtySize) => Promise<void>;
  readonly onClose: () => void;
}

/** The runtime's callback stream as Node streams, with backpressure both ways. */
export function session(
  parts: SessionParts,
  wants: { stdin: boolean; stdout: boolean; stderr: boolean; tty: boolean },
): cri.ExecSession {
  const { stream } = parts;
  const stdout = new PassThrough();
  const stderr = wants.tty ? undefined : new PassThrough();
  stream.onData((name, chunk) => {
    const target = name === "stderr" ? (stderr ?? stdout) : stdout;
    if (target.destroyed || target.writableEnded || target.write(chunk)) return;
    stream.pause();
    target.once("drain", () => stream.resume());
  });
  void stream.ended.then(() => {
    stdout.end();
    stderr?.end();
  });
  const stdin = wants.stdin
    ? new Writable({
        write: (chunk: Buffer, _encoding, callback) => {
          if (stream.write(chunk)) callback();
          else stream.drained().then(() => callback(), callback);
        },
        final: (callback) => {
          stream.closeStdin();
          callback();
        },
      })
    : undefined;
  if (!wants.stdout) stdout.resume();
  if (!wants.stderr) stderr?.resume();
  return {
    stdin,
    stdout: wants.stdout ? stdout : undefined,
    stderr: wants.stderr ? stderr : undefined,
    exit: parts.exit,
    resize: (columns, rows) => parts.resize({ columns, rows }),
    close: () => {
      parts.onClose();
      stream.close();
    },
  };
}

/** Runs an exec to its end and keeps what it said. */
export async function collect(exec: RuntimeExec, timeoutSeconds: number, clock: Clock): Promise<cri.ExecSyncResult> {
  const chunks = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
  let bytes = 0;
  exec.stream.onData((name, chunk) => {
    bytes += chunk.length;
    if (bytes <= MAX_SYNC_BYTES) chunks[name].push(chunk);
  });
  exec.stream.closeStdin();
  let timedOut = false;
  const timer =
    timeoutSeconds > 0
      ? clock.after(timeoutSeconds * 1000, () => {
          timedOut = true;
          void exec.kill(9).catch(() => {});
        })
      : undefined;
  const { code } = await exec.wait();
  timer?.cancel();
  if (timedOut) throw deadlineExceeded(`command did not end within ${timeoutSeconds} s`);
  await exec.stream.ended;
  if (bytes > MAX_SYNC_BYTES) throw resourceExhausted(`command said more than ${MAX_SYNC_BYTES} bytes`);
  return { stdout: Buffer.concat(chunks.stdout), stderr: Buffer.concat(chunks.stderr), exitCode: code };
}
