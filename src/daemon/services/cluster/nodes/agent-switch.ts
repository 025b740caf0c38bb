import type { cri } from "../../../../api/index.ts";
import type { PodVolumeStats } from "../../../../node/index.ts";
import type { RunningAgent } from "./agent.ts";

/** A node's kubelet with its switch: a kubelet that has ended is not started again, a new one takes its place. */
export class AgentSwitch {
  readonly runtime: cri.RuntimeService;
  readonly #start: () => Promise<RunningAgent>;
  #running: RunningAgent | undefined;

  constructor(runtime: cri.RuntimeService, start: () => Promise<RunningAgent>) {
    this.runtime = runtime;
    this.#start = start;
  }

  get isOn(): boolean {
    return this.#running !== undefined;
  }

  /** Of its Pods; none while it is off. */
  async volumeStats(): Promise<readonly PodVolumeStats[]> {
    return (await this.#running?.kubelet.volumeStats()) ?? [];
  }

  /** Resolves when the node is Ready. */
  async on(): Promise<void> {
    this.#running ??= await this.#start();
  }

  /** Its Pods keep running, as with a kubelet that died. */
  async off(): Promise<void> {
    await this.#running?.stop();
    this.#running = undefined;
  }

  /** As when the power is cut: the kubelet first, so that it says nothing of what follows. */
  async cutPower(): Promise<void> {
    await this.off();
    const sandboxes = await this.runtime.listPodSandbox({ state: "SANDBOX_READY" });
    await Promise.all(sandboxes.map(({ id }) => this.runtime.stopPodSandbox(id)));
  }

  /** The machine goes down in order. */
  async drain(): Promise<void> {
    await this.#running?.kubelet.shutdown();
  }
}
