import { messageOf } from "../../../base/index.ts";
import type { KubeletContext } from "../context.ts";
import { runHook } from "../probe/actions.ts";
import { allContainers } from "./containers.ts";
import type { Container, cri, Pod } from "./imports.ts";
import type { Observed, Step } from "./plan.ts";

/** What a container gets at least after its preStop hook has used up the grace period. */
const MIN_GRACE_SECONDS = 2;

/** Stops containers in upstream's order: everything at once, sidecars after that, the last one first. */
export async function stopContainers(
  context: KubeletContext,
  pod: Pod,
  containers: readonly cri.ContainerStatus[],
  graceSeconds: number,
  message: (name: string) => string,
): Promise<void> {
  const entries = allContainers(pod);
  const running = containers.filter(
    (status) => status.state === "CONTAINER_RUNNING" || status.state === "CONTAINER_UNKNOWN",
  );
  const deadlineMs = context.clock.monotonicMs() + graceSeconds * 1000;
  const isSidecar = (status: cri.ContainerStatus) =>
    entries.some((entry) => entry.role === "sidecar" && entry.container.name === status.metadata.name);
  const stop = (status: cri.ContainerStatus) => {
    const leftSeconds = graceSeconds === 0 ? 0 : Math.max(0, (deadlineMs - context.clock.monotonicMs()) / 1000);
    return stopOne(
      context,
      pod,
      entries.find((entry) => entry.container.name === status.metadata.name)?.container,
      status,
      leftSeconds,
      message(status.metadata.name),
    );
  };
  await Promise.all(running.filter((status) => !isSidecar(status)).map(stop));
  const order = entries.map((entry) => entry.container.name);
  const sidecars = running
    .filter(isSidecar)
    .toSorted((a, b) => order.indexOf(b.metadata.name) - order.indexOf(a.metadata.name));
  for (const status of sidecars) await stop(status);
}

async function stopOne(
  context: KubeletContext,
  pod: Pod,
  container: Container | undefined,
  status: cri.ContainerStatus,
  graceSeconds: number,
  message: string,
): Promise<void> {
  if (container) context.event(pod, container, "Normal", "Killing", message);
  context.prober.forget(status.id);
  const begunMs = context.clock.monotonicMs();
  const hook = container?.lifecycle?.preStop;
  if (hook && graceSeconds > 0) {
    const target = { containerId: status.id, container: container!, podIp: pod.status?.podIP ?? "" };
    const timeUp = context.clock.sleep(graceSeconds * 1000);
    await Promise.race([
      timeUp,
      runHook(context, hook, target, graceSeconds).catch((error: unknown) =>
        context.event(pod, container, "Warning", "FailedPreStopHook", `PreStopHook failed: ${messageOf(error)}`),
      ),
    ]);
  }
  const usedSeconds = (context.clock.monotonicMs() - begunMs) / 1000;
  await context.runtime.stopContainer(
    status.id,
    graceSeconds === 0 ? 0 : Math.max(hook ? MIN_GRACE_SECONDS : 0, Math.ceil(graceSeconds - usedSeconds)),
  );
}

/** Stops one container that the plan wants stopped, and says why. */
export async function stopForReason(
  context: KubeletContext,
  pod: Pod,
  observed: Observed,
  { id, container, reason }: Extract<Step, { type: "stopContainer" }>,
): Promise<void> {
  const restarted = (container.restartPolicy ?? pod.spec?.restartPolicy) === "Never" ? "" : ", will be restarted";
  const why = {
    specChanged: `Container ${container.name} definition changed, will be restarted`,
    livenessFailed: `Container ${container.name} failed liveness probe${restarted}`,
    startupFailed: `Container ${container.name} failed startup probe${restarted}`,
    resizeRestart: `Container ${container.name} resize requires restart`,
    podDone: `Stopping container ${container.name}`,
  }[reason];
  const probe =
    reason === "livenessFailed"
      ? container.livenessProbe
      : reason === "startupFailed"
        ? container.startupProbe
        : undefined;
  const graceSeconds = probe?.terminationGracePeriodSeconds ?? pod.spec?.terminationGracePeriodSeconds ?? 30;
  await stopContainers(
    context,
    pod,
    observed.containers.filter((status) => status.id === id),
    graceSeconds,
    () => why,
  );
}
