import { mkdir } from "node:fs/promises";
import { BerthError, hasCode, messageOf, rfc3339, type Timer } from "../../../base/index.ts";
import type { KubeletContext } from "../context.ts";
import { NotStarted } from "../images/puller.ts";
import { podDns } from "../runtime/name-resolution.ts";
import { podHostname, podLogDirectory, sandboxConfig } from "../runtime/sandbox-config.ts";
import type { Waiting } from "../status/container-status.ts";
import type { ResizeCondition } from "../status/pod-status.ts";
import { isFromApi } from "../volumes/payloads.ts";
import { usernsOptions } from "../userns/id-ranges.ts";
import type { MountedVolumes } from "../volumes/volumes.ts";
import { Backoff } from "./backoff.ts";
import { checkBackoff } from "./crash-backoff.ts";
import { allContainers, hasEnded } from "./containers.ts";
import type { cri, Pod } from "./imports.ts";
import { collectDead, observe } from "./observe.ts";
import { latest, plan, type Observed, type Step } from "./plan.ts";
import { podFacts } from "./facts.ts";
import { Reporter } from "./reporter.ts";
import type { Verdict } from "./verdict.ts";
import { podResources } from "./resources.ts";
import { runPostStart, startContainer, targetOf } from "./start.ts";
import { stopContainers, stopForReason } from "./stop.ts";
import { wakesWorker } from "./wish.ts";

/** How long after a failed round the next one comes, when nothing wakes the worker before. */
const RETRY_MS = 2_000;
/** A round comes at least this often, so that whatever an event failed to tell is seen. */
const RESYNC_MS = 60_000;
/** How long a round may go on when the daemon stops. */
const RELEASE_MS = 500;

/**
 * Everything about one Pod on this node, one round at a time: observe the runtime, plan, carry out, report. It holds nothing that a restart
 * would miss: what runs is known by the runtime, what is wanted by the API.
 */
export class PodWorker {
  readonly uid: string;
  readonly #context: KubeletContext;
  readonly #backoff: Backoff;
  readonly #waiting = new Map<string, Waiting>();
  readonly #reporter: Reporter;
  #pod: Pod;
  #failure: Verdict | undefined;
  #sandboxConfig: cri.PodSandboxConfig | undefined;
  #running: Promise<void> | undefined;
  #again = false;
  #timer: Timer | undefined;
  #abort = new AbortController();
  #admitted = false;
  #finished = false;
  #graceMs: number | undefined;
  /** What is being stopped, and the time it has. */
  #stopping: { readonly containers: readonly cri.ContainerStatus[]; graceSeconds: number } | undefined;
  #maxGraceSeconds = Number.POSITIVE_INFINITY;
  #resizing: ResizeCondition | undefined;

  constructor(context: KubeletContext, pod: Pod) {
    this.uid = pod.metadata.uid!;
    this.#context = context;
    this.#pod = pod;
    this.#backoff = new Backoff(context.clock);
    this.#reporter = new Reporter(context);
  }

  /** The Pod is off this node: nothing is left of it. */
  get finished(): boolean {
    return this.#finished;
  }

  get pod(): Pod {
    return this.#pod;
  }

  /** The API's newest state of the Pod. What only echoes our own status report needs no round. */
  update(pod: Pod): void {
    this.#hasten(pod.metadata.deletionGracePeriodSeconds);
    if (wakesWorker(pod, this.#pod)) this.wake(pod);
    else this.#pod = pod;
  }

  /** Something may have changed. Rounds never overlap; several wakes during one make one more. */
  wake(pod?: Pod): void {
    if (pod) {
      const leaving =
        pod.metadata.deletionTimestamp !== undefined && this.#pod.metadata.deletionTimestamp === undefined;
      this.#pod = pod;
      if (leaving) this.#abort.abort(new NotStarted("Terminating", "the Pod is being deleted"));
    }
    this.#timer?.cancel();
    this.#again = true;
    this.#running ??= this.#rounds().finally(() => (this.#running = undefined));
  }

  /** Ends the Pod for good with this verdict (eviction, shutdown), within its own grace or less. Its object stays, Failed. */
  fail(verdict: Verdict, maxGraceSeconds = Number.POSITIVE_INFINITY): void {
    this.#failure ??= verdict;
    this.#maxGraceSeconds = maxGraceSeconds;
    this.#abort.abort(new NotStarted(verdict.reason, verdict.message));
    this.wake();
  }

  /** Resolves when no round runs and none is due at once. */
  async settled(): Promise<void> {
    while (this.#running) await this.#running.catch(() => {});
  }

  /** The API has no such Pod any more: kill at once. */
  vanish(): void {
    this.#hasten(0);
    this.wake({
      ...this.#pod,
      metadata: {
        ...this.#pod.metadata,
        deletionTimestamp: rfc3339(this.#context.clock.nowMs()),
        deletionGracePeriodSeconds: 0,
      },
    });
    this.#graceMs = 0;
  }

  /** Lets the daemon stop: no more rounds, everything keeps running. */
  async release(): Promise<void> {
    this.#finished = true;
    this.#timer?.cancel();
    this.#abort.abort(new NotStarted("Released", "the node agent stops"));
    // A container that takes its grace period to end is not waited for: the next start goes on with it.
    await Promise.race([this.#running?.catch(() => {}), this.#context.clock.sleep(RELEASE_MS)]);
  }

  async #rounds(): Promise<void> {
    while (this.#again && !this.#finished) {
      this.#again = false;
      let nextMs = RESYNC_MS;
      try {
        nextMs = await this.#round();
      } catch (error) {
        if (!(error instanceof NotStarted))
          this.#context.log.warn("a Pod's round failed", {
            pod: this.#pod.metadata.name,
            namespace: this.#pod.metadata.namespace,
            error,
          });
        nextMs = RETRY_MS;
      }
      if (!this.#again && !this.#finished) this.#timer = this.#context.clock.after(nextMs, () => this.wake());
    }
  }

  /** One round. Returns after how long the next one is due. */
  async #round(): Promise<number> {
    const { context } = { context: this.#context };
    const pod = this.#pod;
    const observed = await observe(context.runtime, this.uid);
    if (pod.metadata.deletionTimestamp) {
      await this.#terminate(pod, observed);
      return RETRY_MS;
    }
    this.#checkDeadline(pod);
    if (!this.#failure && !this.#admitted) {
      this.#failure = await context.admit(pod, observed);
      if (this.#failure) context.event(pod, undefined, "Warning", this.#failure.reason, this.#failure.message);
    }
    this.#admitted = true;
    if (this.#failure || hasEnded(pod)) {
      await this.#stop(observed);
      await this.#report(pod, await observe(context.runtime, this.uid), true);
      await context.volumes.release(this.uid);
      return RESYNC_MS;
    }

    const steps = plan(pod, observed, context.prober);
    if (steps.length > 0 && observed.containers.length === 0) void this.#report(pod, observed, false);
    const results = await this.#carryOut(pod, observed, steps);
    const after = await observe(context.runtime, this.uid);
    await this.#watchProbes(pod, after);
    const done = steps.some((step) => step.type === "stopPod");
    await this.#report(pod, after, done);
    if (done) await context.volumes.release(this.uid);
    await collectDead(context.runtime, after);
    if (results.changed && !done) this.#again = true;
    return Math.min(results.retryMs, this.#untilDeadlineMs(pod));
  }

  #checkDeadline(pod: Pod): void {
    const seconds = pod.spec?.activeDeadlineSeconds;
    if (seconds === undefined || !pod.status?.startTime) return;
    if (this.#context.clock.nowMs() - Date.parse(pod.status.startTime) >= seconds * 1000) {
      this.#failure ??= {
        reason: "DeadlineExceeded",
        message: "Pod was active on the node longer than the specified deadline",
      };
    }
  }

  #untilDeadlineMs(pod: Pod): number {
    const seconds = pod.spec?.activeDeadlineSeconds;
    if (seconds === undefined) return RESYNC_MS;
    const nowMs = this.#context.clock.nowMs();
    const startMs = pod.status?.startTime ? Date.parse(pod.status.startTime) : nowMs;
    return Math.max(0, startMs + seconds * 1000 - nowMs);
  }

  async #carryOut(
    pod: Pod,
    observed: Observed,
    steps: readonly Step[],
  ): Promise<{ retryMs: number; changed: boolean }> {
    let retryMs = RESYNC_MS;
    let changed = false;
    const notStarted = (name: string, error: unknown) => {
      const known =
        error instanceof NotStarted ? error : new NotStarted(reasonOf(error), messageOf(error), RETRY_MS * 5);
      this.#waiting.set(name, known.waiting);
      retryMs = Math.min(retryMs, known.retryAfterMs ?? RESYNC_MS);
    };
    if (steps.some((step) => step.type === "stopPod")) {
      await this.#stop(observed);
      return { retryMs, changed: false };
    }
    for (const step of steps) {
      if (step.type !== "stopContainer") continue;
      await stopForReason(this.#context, pod, observed, step);
      changed = true;
    }
    let sandboxId = observed.sandboxes[0]?.state === "SANDBOX_READY" ? observed.sandboxes[0].id : undefined;
    let starts = steps.filter((step) => step.type === "startContainer");
    for (const step of steps) if (step.type === "resizeContainer") await this.#resize(pod, sandboxId!, step);
    const create = steps.find((step) => step.type === "createSandbox");
    if (!create && starts.length === 0) {
      if (sandboxId !== undefined) await this.#refreshVolumes(pod, sandboxId);
      return { retryMs, changed };
    }

    let volumes: MountedVolumes;
    try {
      await this.#context.claims.prepare(pod);
    } catch (error) {
      const message = `Failed to prepare dynamic resources: ${messageOf(error)}`;
      this.#context.event(pod, undefined, "Warning", "FailedPrepareDynamicResources", message);
      return { retryMs: RETRY_MS, changed };
    }
    try {
      volumes = await this.#context.volumes.prepare(pod, podFacts(this.#context, pod, undefined));
    } catch (error) {
      this.#context.event(pod, undefined, "Warning", "FailedMount", messageOf(error));
      return { retryMs: RETRY_MS, changed };
    }
    if (create) {
      sandboxId = await this.#createSandbox(pod, observed, create.attempt);
      const fresh = await observe(this.#context.runtime, this.uid);
      starts = plan(pod, fresh, this.#context.prober).filter((step) => step.type === "startContainer");
    }
    const sandbox = await this.#context.runtime.podSandboxStatus(sandboxId!);
    this.#sandboxConfig ??= await this.#makeSandboxConfig(pod, sandbox.metadata.attempt);
    await Promise.all(
      starts.map(async (step) => {
        try {
          await this.#startContainer(pod, sandbox, step, volumes, observed);
          this.#waiting.delete(step.container.name);
          changed = true;
        } catch (error) {
          if (this.#abort.signal.aborted) return;
          notStarted(step.container.name, error);
        }
      }),
    );
    return { retryMs, changed };
  }

  /** What API objects say in mounted files follows them, and tokens are renewed in time; after a restart it is known again what is mounted. */
  async #refreshVolumes(pod: Pod, sandboxId: string): Promise<void> {
    const { volumes } = this.#context;
    const follows = pod.spec?.volumes?.some((one) => isFromApi(one) || one.persistentVolumeClaim || one.csi);
    if (!follows && volumes.mounted(this.uid)) return;
    const sandbox = await this.#context.runtime.podSandboxStatus(sandboxId);
    await volumes.prepare(pod, podFacts(this.#context, pod, sandbox)).catch((error: unknown) => {
      this.#context.event(pod, undefined, "Warning", "FailedMount", messageOf(error));
    });
  }

  /** Gives a running container other limits; the Pod's own group grows before it and shrinks after it. */
  async #resize(pod: Pod, sandboxId: string, step: Extract<Step, { type: "resizeContainer" }>): Promise<void> {
    const { runtime } = this.#context;
    const never = this.#context.fitsAlone(pod);
    const refused = never ?? this.#context.fits(pod);
    if (refused) {
      const message = resizeMessage(refused, never !== undefined);
      this.#resizing = { type: "PodResizePending", reason: never ? "Infeasible" : "Deferred", message };
      return;
    }
    try {
      await runtime.updatePodSandboxResources(sandboxId, { cpuQuota: -1, memoryLimitInBytes: -1 });
      await runtime.updateContainerResources(step.id, step.resources);
      await runtime.updatePodSandboxResources(sandboxId, podResources(pod));
      this.#resizing = undefined;
    } catch (error) {
      const message = `cannot resize container ${step.container.name}: ${messageOf(error)}`;
      this.#resizing = { type: "PodResizeInProgress", reason: "Error", message };
    }
  }

  async #makeSandboxConfig(pod: Pod, attempt: number): Promise<cri.PodSandboxConfig> {
    return sandboxConfig(pod, {
      attempt,
      logRoot: this.#context.logRoot,
      dns: await podDns(pod, this.#context.dns),
      hostname: podHostname(pod, this.#context.machine.hostname),
      ...(pod.spec?.hostUsers === false ? { userns: usernsOptions(await this.#context.idRanges.of(this.uid)) } : {}),
    });
  }

  async #createSandbox(pod: Pod, observed: Observed, attempt: number): Promise<string> {
    const { runtime } = this.#context;
    for (const old of observed.sandboxes) {
      await runtime.stopPodSandbox(old.id);
      if (!observed.containers.some((container) => container.podSandboxId === old.id))
        await runtime.removePodSandbox(old.id);
    }
    this.#sandboxConfig = await this.#makeSandboxConfig(pod, attempt);
    await mkdir(this.#sandboxConfig.logDirectory, { recursive: true, mode: 0o755 });
    const handler = await this.#context.runtimeHandler(pod);
    try {
      return await runtime.runPodSandbox(this.#sandboxConfig, handler, this.#abort.signal);
    } catch (error) {
      if (!this.#abort.signal.aborted)
        this.#context.event(
          pod,
          undefined,
          "Warning",
          "FailedCreatePodSandBox",
          `Failed to create pod sandbox: ${messageOf(error)}`,
        );
      throw error;
    }
  }

  async #startContainer(
    pod: Pod,
    sandbox: cri.PodSandboxStatus,
    step: Extract<Step, { type: "startContainer" }>,
    volumes: MountedVolumes,
    observed: Observed,
  ): Promise<void> {
    const { container, attempt } = step;
    checkBackoff(this.#context, this.#backoff, pod, container, observed);
    const facts = podFacts(this.#context, pod, sandbox);
    const id = await startContainer(this.#context, {
      pod,
      container,
      attempt,
      facts,
      sandbox,
      sandboxConfig: this.#sandboxConfig!,
      volumes,
      target: step.role === "ephemeral" ? targetOf(container, observed) : undefined,
      signal: this.#abort.signal,
    });
    if (attempt > 0) this.#backoff.next(container.name);
    await runPostStart(this.#context, pod, container, id, facts.podIps[0] ?? "");
    this.#context.prober.watch(this.uid, id, container, facts.podIps[0] ?? "127.0.0.1");
  }

  /** A second deletion may leave less time than the first. */
  #hasten(graceSeconds = Number.POSITIVE_INFINITY): void {
    if (!this.#stopping || graceSeconds >= this.#stopping.graceSeconds) return;
    this.#stopping.graceSeconds = graceSeconds;
    for (const { id } of this.#stopping.containers)
      // Whoever stops it already hears of what goes wrong.
      this.#context.runtime.stopContainer(id, graceSeconds).catch(() => {});
  }

  /** Stops everything of the Pod, its sandbox too, and gives its devices and claims back. What the containers left (logs, exit codes) stays until the Pod is deleted. */
  async #stop(observed: Observed, graceSeconds = this.#pod.spec?.terminationGracePeriodSeconds ?? 30): Promise<void> {
    const seconds = Math.min(graceSeconds, this.#maxGraceSeconds);
    this.#stopping = { containers: observed.containers, graceSeconds: seconds };
    try {
      const message = (name: string) => `Stopping container ${name}`;
      await stopContainers(this.#context, this.#pod, observed.containers, seconds, message);
    } finally {
      this.#stopping = undefined;
    }
    this.#context.prober.forgetPod(this.uid);
    await Promise.all(observed.sandboxes.map((sandbox) => this.#context.runtime.stopPodSandbox(sandbox.id)));
    this.#context.devices.release(this.uid);
    await this.#context.claims.release(this.uid);
  }

  async #terminate(pod: Pod, observed: Observed): Promise<void> {
    const { runtime, api } = this.#context;
    const graceSeconds = this.#graceMs === 0 ? 0 : (pod.metadata.deletionGracePeriodSeconds ?? 30);
    const begunMs = this.#context.clock.monotonicMs();
    if (graceSeconds > 0 && !pod.spec?.containers.some(({ lifecycle }) => lifecycle?.preStop))
      await this.#context.drained(pod);
    const usedSeconds = (this.#context.clock.monotonicMs() - begunMs) / 1000;
    await this.#stop(observed, graceSeconds === 0 ? 0 : Math.max(1, graceSeconds - Math.floor(usedSeconds)));
    const after = await observe(runtime, this.uid);
    if (this.#graceMs !== 0) await this.#report(pod, after, true);
    await Promise.all(after.containers.map((container) => runtime.removeContainer(container.id)));
    await Promise.all(after.sandboxes.map((sandbox) => runtime.removePodSandbox(sandbox.id)));
    await this.#context.volumes.teardown(this.uid);
    await this.#context.removeLogs(podLogDirectory(this.#context.logRoot, pod));
    this.#context.puller.forget(this.uid);
    try {
      if (this.#graceMs !== 0) await api.removePod(pod);
    } catch (error) {
      if (!hasCode(error, "notFound", "conflict")) throw error;
    }
    this.#context.statusWriter.forget(this.uid);
    this.#finished = true;
  }

  #report(pod: Pod, observed: Observed, finished: boolean): Promise<void> {
    const waiting = this.#waiting;
    return this.#reporter.report(pod, observed, {
      finished,
      failure: this.#failure,
      resizing: this.#resizing,
      waiting,
    });
  }

  async #watchProbes(pod: Pod, observed: Observed): Promise<void> {
    const sandbox = observed.sandboxes[0];
    if (!sandbox) return;
    for (const status of observed.containers) {
      if (status.state !== "CONTAINER_RUNNING") this.#context.prober.forget(status.id);
    }
    // The status of a static Pod may never have reached the API.
    const ip = pod.status?.podIP || (await this.#context.runtime.podSandboxStatus(sandbox.id)).network.ip;
    for (const { container } of allContainers(pod)) {
      const status = latest(observed, container.name);
      if (status?.state === "CONTAINER_RUNNING" && ip) this.#context.prober.watch(this.uid, status.id, container, ip);
    }
  }
}

/** Upstream speaks of the node's capacity where no other Pod is to blame. */
function resizeMessage({ message }: Verdict, infeasible: boolean): string {
  const why = message.replace("Pod was rejected: ", "");
  return infeasible ? why.replace("enough resource", "enough capacity").replace(/, used: \d+/, "") : why;
}

/** What `kubectl get pods` shows for a container that could not be made: its process, its configuration, or anything else. */
function reasonOf(error: unknown): string {
  if (error instanceof BerthError && error.details["exitCode"] !== undefined) return "RunContainerError";
  return hasCode(error, "failedPrecondition", "invalidArgument")
    ? "CreateContainerConfigError"
    : "CreateContainerError";
}
