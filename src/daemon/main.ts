import { readFileSync, writeFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import path from "node:path";
import { createLogger, messageOf, Metrics, systemClock, systemRandom } from "../base/index.ts";
import { loadConfig } from "./config.ts";
import type { DaemonContext } from "./context.ts";
import { acquireLock } from "./lock.ts";
import { machineGoesDown } from "./machine-shutdown.ts";
import { openLogFile } from "./log-file.ts";
import { controlService } from "./services/control.ts";
import { composeServices } from "./services/index.ts";
import { Supervisor } from "./supervisor.ts";

/** After this long, a daemon that was asked to stop goes anyway: everything is recovered at the next start. */
const STOP_DEADLINE_MS = 20_000;

/** The daemon: `node src/daemon/main.ts [--reset]`. Everything it is told comes from the environment and the configuration file. */
async function main(): Promise<void> {
  const config = loadConfig(process.env);
  const { instance, dataDir, runtimeDir } = config;
  await mkdir(dataDir, { recursive: true, mode: 0o711 });
  await mkdir(runtimeDir, { recursive: true, mode: 0o711 });
  using _lock = await acquireLock(dataDir);

  const logFile = openLogFile(path.join(dataDir, "daemon.log"));
  const foreground = process.env["BERTH_FOREGROUND"] === "1";
  const threshold = { level: config.logLevel };
  const log = createLogger({
    level: () => threshold.level,
    write(line) {
      logFile.write(line);
      if (foreground) process.stderr.write(line);
    },
  });
  const version = packageVersion();
  const context: DaemonContext = {
    instance,
    dataDir,
    runtimeDir,
    clock: systemClock,
    random: systemRandom,
    log,
    config,
    metrics: new Metrics(),
    threshold,
    version,
    control: new Map(),
  };
  if (process.argv.includes("--reset")) {
    const { reset } = await import("./reset.ts");
    return reset(context);
  }

  const supervisor = new Supervisor(systemClock, log);
  const startedMs = systemClock.nowMs();
  const status = () => ({
    instance,
    pid: process.pid,
    version,
    dataDir,
    runtimeDir,
    startedMs,
    services: supervisor.status(),
  });
  const asked = Promise.withResolvers<{ why: string; drain: boolean }>();
  for (const signal of ["SIGINT", "SIGTERM"] as const)
    process.on(signal, () => void machineGoesDown().then((drain) => asked.resolve({ why: signal, drain })));
  // A terminal that goes takes nobody with it; the engine reloads its configuration (reload.ts).
  process.on("SIGHUP", () => {});
  // A promise that nobody waited for has failed: say so and live on; state on disk is crash-safe, and a restart would end attached sessions.
  process.on("unhandledRejection", (error) =>
    log.error("unhandled rejection", { error, stack: (error as Error)?.stack }),
  );
  process.on("uncaughtException", (error) => log.error("uncaught exception", { error, stack: error.stack }));

  log.info("starting", { pid: process.pid, version, node: process.version });
  try {
    await supervisor.start([
      controlService(context, status, (drain) => asked.resolve({ why: "berth down", drain })),
      ...(await composeServices(context)),
    ]);
  } catch (error) {
    log.error("could not start", { error });
    process.stderr.write(`berth: ${messageOf(error)}\n`);
    // Not stopped in order: start is recovery, and what is half started may hang.
    process.exit(1);
  }
  writeFileSync(path.join(runtimeDir, "daemon.pid"), `${process.pid}\n`);
  log.info("ready", { tookMs: Math.round(process.uptime() * 1000) });
  const { why, drain } = await asked.promise;
  log.info("stopping", { why, drain });
  if (drain) await supervisor.drain();
  systemClock.after(STOP_DEADLINE_MS, () => process.exit(0));
  await supervisor.stop();
  log.info("stopped");
  logFile.close();
  process.exit(0);
}

function packageVersion(): string {
  const file = path.resolve(import.meta.dirname, "../../package.json");
  return (JSON.parse(readFileSync(file, "utf8")) as { version: string }).version;
}

main().catch((error: unknown) => {
  process.stderr.write(`berth: ${messageOf(error)}\n`);
  process.exit(1);
});
