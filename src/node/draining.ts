import type { k8s } from "../api/index.ts";
import type { Clock } from "../base/index.ts";
import type { Lister } from "../client/index.ts";

/** For requests that were under way to the Pod when the proxy stopped sending it more. */
const SETTLE_MS = 200;
const POLL_MS = 10;
const DRAIN_WAIT_MS = 2_000;
/** The name of the index that `drained` reads, and what it is made of: the Pods behind a slice's endpoints. */
export const SLICES_BY_POD = "pod";

export function podsOfSlice(slice: k8s.EndpointSlice): string[] {
  return (slice.endpoints ?? []).flatMap(({ targetRef }) => (targetRef?.uid ? [targetRef.uid] : []));
}

/** Resolves when no slice has the Pod as a ready endpoint any more and the proxies have had time to follow; at once for no endpoint (ADR 70). */
export async function drained(
  slices: Pick<Lister<k8s.EndpointSlice>, "byIndex">,
  clock: Clock,
  pod: k8s.Pod,
  waitMs = DRAIN_WAIT_MS,
): Promise<void> {
  const uid = pod.metadata?.uid ?? "";
  const deadlineMs = clock.monotonicMs() + waitMs;
  const own = () =>
    slices
      .byIndex(SLICES_BY_POD, uid)
      .flatMap(({ endpoints }) => endpoints.filter(({ targetRef }) => targetRef?.uid === uid));
  if (waitMs === 0 || own().length === 0) return;
  while (own().some(({ conditions }) => conditions?.ready !== false) && clock.monotonicMs() < deadlineMs)
    await clock.sleep(POLL_MS);
  await clock.sleep(Math.min(SETTLE_MS, waitMs));
}
