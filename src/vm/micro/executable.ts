import { stat } from "node:fs/promises";
import path from "node:path";
import type { OciSpec } from "../../api/index.ts";
import { resolveInRoot } from "../../engine/index.ts";
import { runtimeError } from "../../host/index.ts";

/**
 * Says before the machine starts what the runtime would say only afterwards: that the program is not there, or cannot be run. What a mount may
 * hide is left to the guest.
 */
export async function checkExecutable(spec: OciSpec, action: "create" | "exec" = "create"): Promise<void> {
  const command = spec.process.args[0] ?? "";
  const mounted = spec.mounts.map(({ destination }) => destination);
  const candidates = command.includes("/")
    ? [path.resolve(spec.process.cwd, command)]
    : searchPath(spec.process.env).map((folder) => path.join(folder, command));
  if (
    candidates.some((file) => mounted.some((destination) => file.startsWith(`${destination}/`) || file === destination))
  )
    return;
  let found = false;
  for (const file of candidates) {
    const inRoot = await resolveInRoot(spec.root.path, file).catch(() => undefined);
    const facts = inRoot === undefined ? undefined : await stat(inRoot).catch(() => undefined);
    if (facts?.isFile() && (facts.mode & 0o111) !== 0) return;
    if (facts) found = true;
  }
  const where = command.includes("/") ? "" : " in $PATH";
  const why = found ? "Permission denied" : "No such file or directory";
  throw runtimeError(`executable file \`${command}\` not found${found ? "" : where}: ${why}`, command, action);
}

function searchPath(env: readonly string[]): string[] {
  const found = env.find((entry) => entry.startsWith("PATH="))?.slice("PATH=".length);
  return (found || "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").split(":");
}
