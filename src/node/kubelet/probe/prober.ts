import type { Clock, Timer } from "../../../base/index.ts";
import type { Container, Probe } from "../pod/imports.ts";
import type { ProbeVerdicts } from "../pod/plan.ts";
import { portsToWaitFor, whenListening } from "./listening.ts";
import { runProbe, type ActionContext } from "./actions.ts";
import type { ActionResult } from "./result.ts";

export type ProbeKind = "startup" | "liveness" | "readiness";

export interface ProberOptions {
  readonly context: ActionContext;
  readonly clock: Clock;
  /** How long a container without a readiness probe has to listen on its ports until it counts as ready all the same. */
  readonly portWaitMs?: number;
  /** A verdict of this Pod has changed. */
  readonly onChange: (podUid: string) => void;
  /** A probe failed, whatever the threshold says. */
  readonly onFailure: (podUid: string, container: Container, kind: ProbeKind, output: string) => void;
}

interface Watched {
  readonly podUid: string;
  readonly container: Container;
  readonly podIp: string;
  readonly loops: Map<ProbeKind, ProbeLoop>;
  /** The postStart hook has ended. */
  hooked: boolean;
  startup: boolean;
  ready: boolean;
  failed: ProbeKind | undefined;
}

/** Runs the probes of this node's running containers and keeps their verdicts. https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/ */
export class Prober implements ProbeVerdicts {
  readonly #options: ProberOptions;
  readonly #watched = new Map<string, Watched>();
  readonly failedLiveness = new Set<string>();
  readonly failedStartup = new Set<string>();
  readonly started = new Set<string>();

  constructor(options: ProberOptions) {
    this.#options = options;
  }

  /** Idempotent by container id. Call once the container runs and its postStart hook is done. */
  watch(podUid: string, containerId: string, container: Container, podIp: string): void {
    if (this.#watched.has(containerId)) return;
    const watched: Watched = {
      podUid,
      container,
      podIp,
      loops: new Map(),
      hooked: true,
      startup: !container.startupProbe,
      ready: !container.readinessProbe && portsToWaitFor(container).length === 0,
      failed: undefined,
    };
    this.#watched.set(containerId, watched);
    if (container.startupProbe) this.#loop(containerId, watched, "startup", container.startupProbe);
    else this.#begin(containerId, watched);
  }

  isReady(containerId: string): boolean {
    const watched = this.#watched.get(containerId);
    return watched !== undefined && watched.startup && watched.ready;
  }

  forget(containerId: string): void {
    for (const loop of this.#watched.get(containerId)?.loops.values() ?? []) loop.stop();
    this.#watched.delete(containerId);
    this.failedLiveness.delete(containerId);
    this.failedStartup.delete(containerId);
    this.started.delete(containerId);
  }

  forgetPod(podUid: string): void {
    for (const [id, watched] of this.#watched) if (watched.podUid === podUid) this.forget(id);
  }

  /** The startup probe has passed, or there is none: the others begin. */
  #begin(id: string, watched: Watched): void {
    watched.startup = true;
    this.started.add(id);
    const { livenessProbe, readinessProbe } = watched.container;
    if (livenessProbe) this.#loop(id, watched, "liveness", livenessProbe);
    if (readinessProbe) this.#loop(id, watched, "readiness", readinessProbe);
    else if (!watched.ready) void this.#awaitPorts(id, watched);
  }

  /** Without a probe of its own, a container is ready when it listens where it says it does. */
  async #awaitPorts(id: string, watched: Watched): Promise<void> {
    const gone = () => this.#watched.get(id) !== watched;
    // A runtime that cannot say is not a reason to keep traffic away.
    const { context, portWaitMs } = this.#options;
    await whenListening(context, id, portsToWaitFor(watched.container), gone, portWaitMs).catch(() => {});
    this.#verdict(id, watched, "readiness", true);
  }

  #loop(id: string, watched: Watched, kind: ProbeKind, probe: Probe): void {
    const target = { containerId: id, container: watched.container, podIp: watched.podIp };
    const loop = new ProbeLoop(
      probe,
      this.#options.clock,
      () => runProbe(this.#options.context, probe, target),
      (result) => this.#options.onFailure(watched.podUid, watched.container, kind, result.output),
      (healthy) => this.#verdict(id, watched, kind, healthy),
    );
    watched.loops.set(kind, loop);
    loop.start();
  }

  #verdict(id: string, watched: Watched, kind: ProbeKind, healthy: boolean): void {
    if (this.#watched.get(id) !== watched) return;
    if (kind === "readiness") {
      if (watched.ready === healthy) return;
      watched.ready = healthy;
    } else if (!healthy) {
      (kind === "liveness" ? this.failedLiveness : this.failedStartup).add(id);
      for (const loop of watched.loops.values()) loop.stop();
    } else if (kind === "startup") {
      watched.loops.get("startup")?.stop();
      this.#begin(id, watched);
    } else return;
    this.#options.onChange(watched.podUid);
  }
}

/** One probe of one container: due after initialDelay, then each period; a verdict once a threshold is reached. */
class ProbeLoop {
  readonly #probe: Probe;
  readonly #clock: Clock;
  readonly #run: () => Promise<ActionResult>;
  readonly #onFailure: (result: ActionResult) => void;
  readonly #onVerdict: (healthy: boolean) => void;
  #timer: Timer | undefined;
  #stopped = false;
  #last: boolean | undefined;
  #streak = 0;

  constructor(
    probe: Probe,
    clock: Clock,
    run: () => Promise<ActionResult>,
    onFailure: (result: ActionResult) => void,
    onVerdict: (healthy: boolean) => void,
  ) {
    this.#probe = probe;
    this.#clock = clock;
    this.#run = run;
    this.#onFailure = onFailure;
    this.#onVerdict = onVerdict;
  }

  start(): void {
    this.#timer = this.#clock.after((this.#probe.initialDelaySeconds ?? 0) * 1000, () => void this.#tick());
  }
  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  async #tick(): Promise<void> {
    const result = await this.#run();
    if (this.#stopped) return;
    this.#streak = this.#last === result.ok ? this.#streak + 1 : 1;
    this.#last = result.ok;
    if (!result.ok) this.#onFailure(result);
    const threshold = result.ok ? (this.#probe.successThreshold ?? 1) : (this.#probe.failureThreshold ?? 3);
    if (this.#streak >= threshold) this.#onVerdict(result.ok);
    if (!this.#stopped)
      this.#timer = this.#clock.after((this.#probe.periodSeconds ?? 10) * 1000, () => void this.#tick());
  }
}
