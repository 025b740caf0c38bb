import type { k8s } from "../../../api/index.ts";
import { humanDuration } from "../shared/columns.ts";

interface PodLine {
  readonly ready: string;
  readonly status: string;
  readonly restarts: string;
}

/** Remembers the newest restart among the containers counted. */
class Restarts {
  count = 0;
  lastMs = 0;

  add(status: k8s.ContainerStatus): void {
    this.count += status.restartCount;
    const finished = status.lastState?.terminated?.finishedAt;
    if (finished) this.lastMs = Math.max(this.lastMs, Date.parse(finished));
  }

  format(nowMs: number): string {
    const ago = this.count > 0 && this.lastMs > 0 ? ` (${humanDuration(nowMs - this.lastMs)} ago)` : "";
    return `${this.count}${ago}`;
  }
}

const isSidecar = (spec: k8s.Container | undefined): boolean => spec?.restartPolicy === "Always";
const isReady = (pod: k8s.Pod): boolean =>
  pod.status?.conditions?.some(({ type, status }) => type === "Ready" && status === "True") === true;

/** The words under READY, STATUS and RESTARTS, by the rules of upstream's printPod. */
export function podLine(pod: k8s.Pod, nowMs: number): PodLine {
  const restarts = new Restarts();
  const sidecarRestarts = new Restarts();
  let ready = 0;
  let total = pod.spec?.containers.length ?? 0;
  let reason = pod.status?.reason || pod.status?.phase || "";
  if (pod.status?.conditions?.some(({ type, reason: why }) => type === "PodScheduled" && why === "SchedulingGated"))
    reason = "SchedulingGated";

  const specs = new Map((pod.spec?.initContainers ?? []).map((spec) => [spec.name, spec]));
  total += [...specs.values()].filter(isSidecar).length;
  let initializing = false;
  for (const [index, status] of (pod.status?.initContainerStatuses ?? []).entries()) {
    restarts.add(status);
    const sidecar = isSidecar(specs.get(status.name));
    if (sidecar) sidecarRestarts.add(status);
    if (status.state?.terminated?.exitCode === 0) continue;
    if (sidecar && status.started === true) {
      if (status.ready) ready++;
      continue;
    }
    reason = initReason(status, index, specs.size);
    initializing = true;
    break;
  }

  let shown = restarts;
  const initialized = pod.status?.conditions?.some(({ type, status }) => type === "Initialized" && status === "True");
  if (!initializing || initialized === true) {
    shown = sidecarRestarts;
    let anyRunning = false;
    for (const status of (pod.status?.containerStatuses ?? []).toReversed()) {
      shown.add(status);
      const why = containerReason(status);
      if (why !== undefined) reason = why;
      else if (status.ready && status.state?.running !== undefined) {
        anyRunning = true;
        ready++;
      }
    }
    if (reason === "Completed" && anyRunning) reason = isReady(pod) ? "Running" : "NotReady";
  }
  if (pod.metadata.deletionTimestamp !== undefined && pod.status?.reason === "NodeLost") reason = "Unknown";
  else if (pod.metadata.deletionTimestamp !== undefined && !["Failed", "Succeeded"].includes(pod.status?.phase ?? ""))
    reason = "Terminating";
  return { ready: `${ready}/${total}`, status: reason, restarts: shown.format(nowMs) };
}

function initReason({ state }: k8s.ContainerStatus, index: number, count: number): string {
  const terminated = state?.terminated;
  if (terminated !== undefined) {
    if (terminated.reason) return `Init:${terminated.reason}`;
    return terminated.signal ? `Init:Signal:${terminated.signal}` : `Init:ExitCode:${terminated.exitCode}`;
  }
  const waiting = state?.waiting?.reason;
  return waiting && waiting !== "PodInitializing" ? `Init:${waiting}` : `Init:${index}/${count}`;
}

function containerReason({ state }: k8s.ContainerStatus): string | undefined {
  if (state?.waiting?.reason) return state.waiting.reason;
  const terminated = state?.terminated;
  if (terminated === undefined) return undefined;
  if (terminated.reason) return terminated.reason;
  return terminated.signal ? `Signal:${terminated.signal}` : `ExitCode:${terminated.exitCode}`;
}
