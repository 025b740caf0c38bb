import { existsSync } from "node:fs";
import { run as runProgram } from "../host/index.ts";

export interface SystemState {
  /** Whether systemd runs this machine. */
  readonly hasSystemd: () => boolean;
  /** What `systemctl is-system-running` prints. */
  readonly state: () => Promise<string>;
}

const systemd: SystemState = {
  hasSystemd: () => existsSync("/run/systemd/system"),
  state: async () => (await runProgram(["systemctl", "is-system-running"])).stdout.trim(),
};

/**
 * Whether a SIGTERM comes because the machine goes down: then nothing outlives the daemon anyway, and Pods end with their grace first. systemd says so from
 * the moment on that it began (docs/adr/0092).
 */
export async function machineGoesDown(system: SystemState = systemd): Promise<boolean> {
  if (!system.hasSystemd()) return false;
  return system.state().then(
    (state) => state === "stopping",
    () => false,
  );
}
