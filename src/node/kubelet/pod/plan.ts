import type { Container, cri, Pod } from "./imports.ts";
import { neededResize } from "./resize.ts";
import { containerHash, type ContainerRole, restartableInit } from "./containers.ts";

/**
 * What to do next for one Pod, decided from what the API wants and what the runtime has. Pure: the same input gives the same steps. It
 * follows upstream's computePodActions (pkg/kubelet/kuberuntime/kuberuntime_manager.go): sandbox first, then init containers one after
 * the other (a restartable one counts as done once it has started), then all others at once.
 */
export type Step =
  | { readonly type: "stopPod" }
  | { readonly type: "createSandbox"; readonly attempt: number }
  | {
      readonly type: "startContainer";
      readonly role: ContainerRole;
      readonly container: Container;
      readonly attempt: number;
    }
  | {
      readonly type: "resizeContainer";
      readonly id: string;
      readonly container: Container;
      readonly resources: cri.LinuxContainerResources;
    }
  | { readonly type: "stopContainer"; readonly id: string; readonly container: Container; readonly reason: StopReason };

export type StopReason = "specChanged" | "livenessFailed" | "startupFailed" | "podDone" | "resizeRestart";

export interface Observed {
  /** Newest first. */
  readonly sandboxes: readonly cri.PodSandbox[];
  /** Every container of the Pod that the runtime still has, newest first. */
  readonly containers: readonly cri.ContainerStatus[];
}

/** What probes say of running containers, by container id. Absent: no verdict yet. */
export interface ProbeVerdicts {
  readonly failedLiveness: ReadonlySet<string>;
  readonly failedStartup: ReadonlySet<string>;
  /** Passed their startup probe and postStart hook, or have none. */
  readonly started: ReadonlySet<string>;
}

export function plan(pod: Pod, observed: Observed, verdicts: ProbeVerdicts): Step[] {
  const sandbox = observed.sandboxes[0];
  const spec = pod.spec!;
  const restartPolicy = spec.restartPolicy ?? "Always";
  if (sandbox?.state !== "SANDBOX_READY") return planWithoutSandbox(pod, observed, restartPolicy);

  const steps: Step[] = [];
  for (const container of spec.ephemeralContainers ?? []) {
    if (!latest(observed, container.name))
      steps.push({ type: "startContainer", role: "ephemeral", container: container as Container, attempt: 0 });
  }

  const init = planInit(pod, observed, verdicts, restartPolicy);
  steps.push(...init.steps);
  if (init.failed) return [...steps, { type: "stopPod" }];
  if (!init.done) return steps;

  let wanted = 0;
  for (const container of spec.containers) {
    const status = latest(observed, container.name);
    const step = planRegular(pod, container, status, verdicts, restartPolicy);
    if (step.alive) wanted++;
    steps.push(...step.steps);
  }
  return wanted === 0
    ? [...steps.filter((step) => step.type !== "startContainer" || step.role !== "sidecar"), { type: "stopPod" }]
    : steps;
}

function planWithoutSandbox(pod: Pod, observed: Observed, restartPolicy: string): Step[] {
  const attempt = observed.sandboxes[0] ? observed.sandboxes[0].metadata.attempt + 1 : 0;
  const mains = pod.spec!.containers.map((container) => ({ container, status: latest(observed, container.name) }));
  const everyDone = mains.every(
    ({ container, status }) => status?.state === "CONTAINER_EXITED" && !shouldRestart(container, status, restartPolicy),
  );
  const initFailed = (pod.spec!.initContainers ?? []).some((container) => {
    const status = latest(observed, container.name);
    return (
      !restartableInit(container) &&
      status?.state === "CONTAINER_EXITED" &&
      status.exitCode !== 0 &&
      restartPolicy === "Never"
    );
  });
  if (observed.containers.length > 0 && (everyDone || initFailed)) return [{ type: "stopPod" }];
  return [{ type: "createSandbox", attempt }];
}

function planInit(pod: Pod, observed: Observed, verdicts: ProbeVerdicts, restartPolicy: string) {
  const steps: Step[] = [];
  const inits = pod.spec!.initContainers ?? [];
  // Once a main container was ever created in this sandbox, init containers don't run again; sidecars still restart.
  const sandboxId = observed.sandboxes[0]!.id;
  const initialized = pod.spec!.containers.some((container) =>
    observed.containers.some((status) => status.metadata.name === container.name && status.podSandboxId === sandboxId),
  );
  for (const container of inits) {
    const sidecar = restartableInit(container);
    const status = latest(observed, container.name, sandboxId);
    if (initialized && !sidecar) continue;
    if (!status || status.state === "CONTAINER_CREATED" || status.state === "CONTAINER_UNKNOWN") {
      steps.push(start(sidecar ? "sidecar" : "init", container, latest(observed, container.name)));
      if (!initialized) return { steps, done: false, failed: false };
    } else if (status.state === "CONTAINER_RUNNING") {
      const stop = unhealthy(container, status, verdicts);
      if (sidecar && stop) steps.push(stop);
      if (!initialized && !(sidecar && verdicts.started.has(status.id))) return { steps, done: false, failed: false };
    } else if (sidecar) {
      steps.push(start("sidecar", container, status));
      if (!initialized) return { steps, done: false, failed: false };
    } else if (status.exitCode !== 0) {
      if (restartPolicy === "Never") return { steps, done: false, failed: true };
      steps.push(start("init", container, status));
      return { steps, done: false, failed: false };
    }
  }
  return { steps, done: true, failed: false };
}

function planRegular(
  pod: Pod,
  container: Container,
  status: cri.ContainerStatus | undefined,
  verdicts: ProbeVerdicts,
  restartPolicy: string,
): { alive: boolean; steps: Step[] } {
  if (!status || status.state === "CONTAINER_CREATED" || status.state === "CONTAINER_UNKNOWN") {
    return { alive: true, steps: [start("main", container, status)] };
  }
  if (status.state === "CONTAINER_EXITED") {
    return shouldRestart(container, status, restartPolicy)
      ? { alive: true, steps: [start("main", container, status)] }
      : { alive: false, steps: [] };
  }
  const recorded = status.annotations[HASH_ANNOTATION];
  if (recorded !== undefined && recorded !== containerHash(container)) {
    return { alive: true, steps: [{ type: "stopContainer", id: status.id, container, reason: "specChanged" }] };
  }
  const stop = unhealthy(container, status, verdicts) ?? planResize(pod, container, status);
  return { alive: true, steps: stop ? [stop] : [] };
}

/** https://kubernetes.io/docs/tasks/configure-pod-container/resize-container-resources/ */
function planResize(pod: Pod, container: Container, status: cri.ContainerStatus): Step | undefined {
  const resize = neededResize(pod, container, status);
  if (!resize) return undefined;
  return resize.restart
    ? { type: "stopContainer", id: status.id, container, reason: "resizeRestart" }
    : { type: "resizeContainer", id: status.id, container, resources: resize.resources };
}

export const HASH_ANNOTATION = "io.kubernetes.container.hash";

function unhealthy(container: Container, status: cri.ContainerStatus, verdicts: ProbeVerdicts): Step | undefined {
  if (verdicts.failedStartup.has(status.id))
    return { type: "stopContainer", id: status.id, container, reason: "startupFailed" };
  if (verdicts.failedLiveness.has(status.id))
    return { type: "stopContainer", id: status.id, container, reason: "livenessFailed" };
  return undefined;
}

function start(role: ContainerRole, container: Container, previous: cri.ContainerStatus | undefined): Step {
  return {
    type: "startContainer",
    role,
    container,
    attempt: previous ? previous.metadata.attempt + (previous.state === "CONTAINER_CREATED" ? 0 : 1) : 0,
  };
}

/** Rules of the container first (restartPolicyRules by exit code), then its own policy, then the Pod's. */
export function shouldRestart(container: Container, status: cri.ContainerStatus, podPolicy: string): boolean {
  for (const rule of container.restartPolicyRules ?? []) {
    const values = rule.exitCodes?.values ?? [];
    const matches =
      rule.exitCodes?.operator === "NotIn" ? !values.includes(status.exitCode) : values.includes(status.exitCode);
    if (matches) return rule.action === "Restart";
  }
  const policy = container.restartPolicy ?? podPolicy;
  return policy === "Always" || (policy === "OnFailure" && status.exitCode !== 0);
}

/** The newest container of that name; in one sandbox only, where given. */
export function latest(observed: Observed, name: string, sandboxId?: string): cri.ContainerStatus | undefined {
  return observed.containers.find(
    (status) => status.metadata.name === name && (sandboxId === undefined || status.podSandboxId === sandboxId),
  );
}
