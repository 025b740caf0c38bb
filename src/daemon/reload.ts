import { messageOf, type LogLevel } from "../base/index.ts";
import type { Engine } from "../engine/index.ts";
import { loadConfig, type DaemonConfig } from "./config.ts";
import type { DaemonContext } from "./context.ts";

/** What is logged, which a reload may change. */
export interface LogThreshold {
  level: LogLevel;
}

/**
 * SIGHUP: reads the configuration file again and takes over what dockerd takes over, too: registry mirrors and insecure registries, runtimes and the
 * default one, labels, and what is logged. A file that cannot be read changes nothing.
 */
export function reload(
  engine: Engine,
  { log, threshold }: Pick<DaemonContext, "log" | "threshold">,
  env = process.env,
): void {
  let config: DaemonConfig;
  try {
    config = loadConfig(env);
  } catch (error) {
    log.error("the configuration was not reloaded", { reason: messageOf(error) });
    return;
  }
  const { registryMirrors, insecureRegistries, defaultRuntime, runtimes, docker, logLevel } = config;
  const { labels, transfers } = docker;
  engine.reconfigure({ registryMirrors, insecureRegistries, transfers, defaultRuntime, runtimes, labels });
  threshold.level = logLevel;
  log.info("the configuration was reloaded");
}
