import { rfc3339 } from "../../../base/index.ts";
import type { KubeletContext } from "../context.ts";
import type { ContainerFacts, Waiting } from "../status/container-status.ts";
import { podStatus, type ResizeCondition } from "../status/pod-status.ts";
import { allContainers } from "./containers.ts";
import type { cri, Pod } from "./imports.ts";
import { messageFile } from "./own-mounts.ts";
import type { Observed } from "./plan.ts";
import { terminationMessage } from "./termination-message.ts";
import type { Verdict } from "./verdict.ts";

/** What the worker knows beyond what the runtime shows. */
export interface Report {
  /** No container will start again. */
  readonly finished: boolean;
  readonly failure: Verdict | undefined;
  readonly resizing: ResizeCondition | undefined;
  /** By container: why it does not run. */
  readonly waiting: ReadonlyMap<string, Waiting>;
}

/** Makes a Pod's status of what the runtime shows, and has it written. A container's last words are read once. */
export class Reporter {
  readonly #context: KubeletContext;
  readonly #messages = new Map<string, string>();

  constructor(context: KubeletContext) {
    this.#context = context;
  }

  async report(pod: Pod, observed: Observed, verdict: Report): Promise<void> {
    const context = this.#context;
    const newest = observed.sandboxes[0];
    const sandbox = newest && (await context.runtime.podSandboxStatus(newest.id).catch(() => undefined));
    for (const status of observed.containers) {
      if (status.state === "CONTAINER_EXITED" && !this.#messages.has(status.id)) {
        if (status.reason === "OOMKilled") this.#tellKilled(pod, status);
        this.#messages.set(
          status.id,
          await terminationMessage(
            status,
            messageFile(
              this.#context.volumes.podFolder(pod.metadata.uid!),
              status.metadata.name,
              status.metadata.attempt,
            ),
            status.logPath,
          ),
        );
      }
    }
    const facts = (name: string): ContainerFacts => {
      const history = observed.containers.filter((status) => status.metadata.name === name);
      const current = history[0];
      return {
        history,
        runtimeName: context.runtimeName,
        waiting: verdict.waiting.get(name),
        ready: current !== undefined && context.prober.isReady(current.id),
        started: current !== undefined && context.prober.started.has(current.id),
        terminationMessage: (id) => this.#messages.get(id) ?? "",
      };
    };
    const status = podStatus(pod, {
      sandbox,
      facts,
      hostIps: context.machine.hostIps,
      nowText: rfc3339(context.clock.nowMs()),
      finished: verdict.finished,
      failure: verdict.failure,
      resizing: verdict.resizing,
    });
    await context.statusWriter.write(pod, status);
  }

  /** Upstream leaves it to the container's state, which says nothing of the limit. Once: what the API knows already was told by a former daemon. */
  #tellKilled(pod: Pod, { id, metadata }: cri.ContainerStatus): void {
    const container = allContainers(pod).find((entry) => entry.container.name === metadata.name)?.container;
    const known = [...(pod.status?.containerStatuses ?? []), ...(pod.status?.initContainerStatuses ?? [])].some(
      ({ state, lastState }) => [state, lastState].some((one) => one?.terminated?.containerID?.endsWith(id)),
    );
    if (known || !container) return;
    const limit = container.resources?.limits?.["memory"];
    const what = limit === undefined ? "the machine ran out of memory" : `it needed more than its limit of ${limit}`;
    const message = `Container ${container.name} was killed for memory: ${what}`;
    this.#context.event(pod, container, "Warning", "OOMKilled", message);
  }
}
