import type { Clock } from "../../../base/index.ts";
import type { ShutdownGroup } from "../configuration.ts";
import type { Pod } from "../pod/imports.ts";
import type { Verdict } from "../pod/verdict.ts";

const SHUTDOWN: Verdict = {
  reason: "Terminated",
  message: "Pod was terminated in response to imminent node shutdown.",
};
/** What a Pod gets that comes while the node goes down. */
export const REFUSED_BY_SHUTDOWN: Verdict = {
  reason: "NodeShutdown",
  message: "Pod was rejected as the node is shutting down.",
};

/** As much of a Pod's worker as a shutdown needs. */
export interface Ending {
  readonly pod: Pod;
  fail(verdict: Verdict, maxGraceSeconds: number): void;
  settled(): Promise<void>;
}

/** Ends Pods group by group, the lowest priority first. A group that is done before its time is not waited for longer; one that is not is left behind. */
export async function shutdownPods(
  pods: readonly Ending[],
  groups: readonly ShutdownGroup[],
  clock: Clock,
  signal: AbortSignal,
): Promise<void> {
  for (const { members, graceMs } of partition(pods, groups)) {
    if (members.length === 0) continue;
    for (const member of members) member.fail(SHUTDOWN, Math.floor(graceMs / 1000));
    const patience = new AbortController();
    await Promise.race([
      Promise.all(members.map((member) => member.settled())),
      clock.sleep(graceMs, AbortSignal.any([signal, patience.signal])).catch(() => {}),
    ]);
    patience.abort();
  }
}

/** Each Pod belongs to the highest group that is not above its priority; what is below all belongs to the first. */
function partition<T extends { readonly pod: Pod }>(
  pods: readonly T[],
  groups: readonly ShutdownGroup[],
): Array<{ members: T[]; graceMs: number }> {
  const result = groups.map(({ graceMs }) => ({ members: [] as T[], graceMs }));
  for (const entry of pods) {
    const index = groups.findLastIndex(({ priority }) => priority <= (entry.pod.spec?.priority ?? 0));
    result[Math.max(0, index)]?.members.push(entry);
  }
  return result;
}
