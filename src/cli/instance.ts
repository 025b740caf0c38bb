import path from "node:path";
import { instanceDirs, invalidArgument } from "../base/index.ts";

/** Which berth a command speaks to, and where that one's sockets are. */
export interface Instance {
  readonly name: string;
  readonly dataDir: string;
  readonly runtimeDir: string;
  readonly dockerSocket: string;
  readonly controlSocket: string;
  readonly kubeconfig: string;
}

export function currentInstance(env: NodeJS.ProcessEnv = process.env): Instance {
  const name = env["BERTH_INSTANCE"] || "default";
  if (!/^[a-z0-9][a-z0-9-]{0,31}$/.test(name)) {
    throw invalidArgument(`invalid instance name "${name}"`, { hint: "1 to 32 of a-z, 0-9 and -" });
  }
  const { dataDir, runtimeDir } = instanceDirs(name, env);
  return {
    name,
    dataDir,
    runtimeDir,
    dockerSocket: path.join(runtimeDir, "docker.sock"),
    controlSocket: path.join(runtimeDir, "berth.sock"),
    kubeconfig: path.join(runtimeDir, "kubeconfig"),
  };
}
