import { open, readFile } from "node:fs/promises";
import type { cri } from "./imports.ts";

/** https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/ */
const MAX_MESSAGE_BYTES = 4096;
const MAX_LOG_BYTES = 2048;
const MAX_LOG_LINES = 80;

/** What a container left as its last words: the file, or with FallbackToLogsOnError the end of its log. */
export async function terminationMessage(status: cri.ContainerStatus, file: string, logFile: string): Promise<string> {
  const text = (await readFile(file).catch(() => Buffer.alloc(0))).subarray(0, MAX_MESSAGE_BYTES).toString();
  const policy = status.annotations["io.kubernetes.container.terminationMessagePolicy"];
  if (text !== "" || policy !== "FallbackToLogsOnError" || status.exitCode === 0) return text;
  return lastLogLines(await tail(logFile, MAX_LOG_BYTES * 4));
}

/** The payloads of CRI log lines (`time stream P|F text`). */
function lastLogLines(log: string): string {
  const lines = log.split("\n").slice(-MAX_LOG_LINES - 1);
  const text = lines
    .map((line) => /^\S+ (?:stdout|stderr) ([PF]) (.*)$/s.exec(line))
    .filter((match) => match !== null)
    .map((match) => match[2]! + (match[1] === "F" ? "\n" : ""))
    .join("");
  return text.slice(-MAX_LOG_BYTES);
}

async function tail(file: string, bytes: number): Promise<string> {
  const handle = await open(file, "r").catch(() => undefined);
  if (!handle) return "";
  try {
    const { size } = await handle.stat();
    const length = Math.min(size, bytes);
    const { buffer } = await handle.read(Buffer.alloc(length), 0, length, size - length);
    return buffer.toString();
  } finally {
    await handle.close();
  }
}
