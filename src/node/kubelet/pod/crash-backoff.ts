import type { KubeletContext } from "../context.ts";
import { NotStarted } from "../images/puller.ts";
import type { Backoff } from "./backoff.ts";
import type { Container, Pod } from "./imports.ts";
import { latest, type Observed } from "./plan.ts";

/** A container that keeps exiting is not started again before its delay is over. */
export function checkBackoff(
  context: KubeletContext,
  backoff: Backoff,
  pod: Pod,
  container: Container,
  observed: Observed,
): void {
  const last = latest(observed, container.name);
  if (last?.state !== "CONTAINER_EXITED") return;
  const leftMs = backoff.remainingMs(container.name, context.clock.nowMs(), last.finishedAt / 1e6);
  if (leftMs <= 0) return;
  const full = `${pod.metadata.name}_${pod.metadata.namespace}(${pod.metadata.uid})`;
  context.event(
    pod,
    container,
    "Warning",
    "BackOff",
    `Back-off restarting failed container ${container.name} in pod ${full}`,
  );
  throw new NotStarted(
    "CrashLoopBackOff",
    `back-off ${formatDelay(backoff.delayMs(container.name))} restarting failed container=${container.name} pod=${full}`,
    leftMs,
  );
}

function formatDelay(ms: number): string {
  const seconds = Math.round(ms / 1000);
  return seconds < 60 ? `${seconds}s` : `${Math.floor(seconds / 60)}m${seconds % 60}s`;
}
