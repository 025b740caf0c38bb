import { spawn } from "node:child_process";
import { internal } from "../../base/index.ts";

const MAX_MESSAGE_BYTES = 4096;

/**
 * Copies what is in `source` into the existing directory `target`: owners, modes, times, links, devices, extended attributes, sparse files; blocks are shared
 * where the file system can. Neither path may come from a container while it runs.
 */
export function copyTree(source: string, target: string, signal?: AbortSignal): Promise<void> {
  return cp(`${source}/.`, target, signal);
}

/** Copies one file in the same manner. */
export function copySparse(source: string, target: string, signal?: AbortSignal): Promise<void> {
  return cp(source, target, signal);
}

function cp(source: string, target: string, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn("cp", ["-a", "--reflink=auto", "--", source, target], {
      stdio: ["ignore", "ignore", "pipe"],
      ...(signal ? { signal } : {}),
    });
    let message = "";
    child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
      message = (message + chunk).slice(0, MAX_MESSAGE_BYTES);
    });
    child.on("error", reject);
    child.on("close", (code) => {
      if (code === 0) resolve();
      else reject(internal(`cannot copy ${source} to ${target}: ${message.trim()}`));
    });
  });
}
