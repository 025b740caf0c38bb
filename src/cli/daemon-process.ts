import { closeSync, mkdirSync, openSync, readFileSync } from "node:fs";
import path from "node:path";
import { internal, systemClock } from "../base/index.ts";
import { SocketClient } from "./http.ts";
import type { Instance } from "./instance.ts";

export const root = path.resolve(import.meta.dirname, "../..");
const DAEMON = path.join(root, "src/daemon/main.ts");
/**
 * Measured: a small young generation keeps the idle daemon's memory low, and it has little garbage to make (docs/adr/0003).
 */
export const DAEMON_ARGV = [
  process.execPath,
  "--disable-warning=ExperimentalWarning",
  "--max-semi-space-size=4",
  "--optimize-for-size",
  DAEMON,
];
/** Long: one that fails ends, and is noticed at once. */
const READY_TIMEOUT_MS = 120_000;
const STOP_TIMEOUT_MS = 30_000;
/** Pods may have minutes to end. */
const DRAIN_TIMEOUT_MS = 600_000;

export interface StatusAnswer {
  readonly instance: string;
  readonly pid: number;
  readonly version: string;
  readonly dataDir: string;
  readonly runtimeDir: string;
  readonly startedMs: number;
  readonly services: ReadonlyArray<{ name: string; state: string; startMs?: number; error?: string }>;
}

/** Undefined when no daemon answers. */
export async function daemonStatus(instance: Instance): Promise<StatusAnswer | undefined> {
  try {
    return await new SocketClient(instance.controlSocket).json<StatusAnswer>("GET", "/status");
  } catch {
    return undefined;
  }
}

export function isReady(status: StatusAnswer | undefined): boolean {
  return status !== undefined && status.services.length > 0 && status.services.every(({ state }) => state === "ready");
}

/** Starts the daemon on its own, out of reach of this terminal, and resolves when all its services are ready. */
export async function startDetached(instance: Instance): Promise<StatusAnswer> {
  const { spawn, tryReap } = await import("../host/index.ts");
  mkdirSync(instance.dataDir, { recursive: true, mode: 0o711 });
  const errorsFile = path.join(instance.dataDir, "daemon.stderr");
  const errors = openSync(errorsFile, "w", 0o600);
  const env = { ...process.env, BERTH_INSTANCE: instance.name } as Record<string, string>;
  const pid = spawn({
    argv: DAEMON_ARGV,
    env,
    fds: new Map([
      [1, errors],
      [2, errors],
    ]),
    newSession: true,
  });
  closeSync(errors);
  const deadlineMs = systemClock.monotonicMs() + READY_TIMEOUT_MS;
  for (;;) {
    const status = await daemonStatus(instance);
    if (status && isReady(status)) return status;
    if (tryReap(pid) !== undefined) {
      throw internal(`the daemon did not start: ${readFileSync(errorsFile, "utf8").trim()}`, {
        hint: "berth logs --daemon",
      });
    }
    if (systemClock.monotonicMs() > deadlineMs) {
      throw internal(`the daemon is not ready after ${READY_TIMEOUT_MS / 1000} s`, { hint: "berth logs --daemon" });
    }
    await wait(5);
  }
}

/** The clock's own timers do not keep the process alive; here nothing else does. */
export function wait(delayMs: number): Promise<void> {
  const keepAlive = new MessageChannel();
  keepAlive.port1.ref();
  keepAlive.port1.onmessage = () => {};
  return systemClock.sleep(delayMs).finally(() => keepAlive.port1.close());
}

/** Asks the daemon to end and waits until it has. False when none was running. */
export async function stopDaemon(
  instance: Instance,
  { drain }: { drain?: boolean | undefined } = {},
): Promise<boolean> {
  const status = await daemonStatus(instance);
  if (!status) return false;
  await new SocketClient(instance.controlSocket).json("POST", drain ? "/stop?drain=1" : "/stop").catch(() => {});
  const deadlineMs = systemClock.monotonicMs() + (drain ? DRAIN_TIMEOUT_MS : STOP_TIMEOUT_MS);
  while (isAlive(status.pid)) {
    if (systemClock.monotonicMs() > deadlineMs) throw internal(`the daemon (process ${status.pid}) does not end`);
    await wait(10);
  }
  return true;
}

function isAlive(pid: number): boolean {
  try {
    // A process that has ended but that nobody has waited for counts as gone.
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}
