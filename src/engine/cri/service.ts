import net from "node:net";
import type { cri } from "../../api/index.ts";
import { PushQueue } from "../../base/index.ts";
import { type Sandbox } from "../container/index.ts";
import { Connections } from "./connections.ts";
import { Containers } from "./containers.ts";
import { Endings } from "./endings.ts";
import { recoverRuntime } from "./recovery.ts";
import { Sandboxes } from "./sandboxes.ts";
import { CriState, type CriDeps } from "./state.ts";

/**
 * Kubernetes' container runtime interface over the engine's own parts: the same images, snapshots and container core that `docker run` ends in.
 * Facts stand on disk; a restart finds what runs.
 */
export class CriRuntime implements cri.RuntimeService {
  readonly #state: CriState;
  readonly #endings: Endings;
  readonly #containers: Containers;
  readonly #sandboxes: Sandboxes;
  readonly #connections: Connections;

  constructor(deps: CriDeps) {
    this.#state = new CriState(deps);
    this.#endings = new Endings(this.#state);
    this.#containers = new Containers(this.#state, this.#endings);
    this.#sandboxes = new Sandboxes(this.#state, this.#containers);
    this.#connections = new Connections(this.#state);
  }

  /** Takes over what a former daemon left running. `found` are the isolations' recovered sandboxes. */
  recover(found: readonly Sandbox[]): Promise<void> {
    return recoverRuntime(this.#state, this.#endings, found);
  }

  async version(): Promise<cri.VersionResponse> {
    return { runtimeName: "berth", runtimeVersion: "0.1.0", runtimeApiVersion: "v1" };
  }

  async status(): Promise<{ conditions: cri.RuntimeCondition[] }> {
    const network = this.#state.deps.network.notReady();
    return {
      conditions: [
        { type: "RuntimeReady", status: true, reason: "", message: "" },
        {
          type: "NetworkReady",
          status: network === undefined,
          reason: network === undefined ? "" : "NetworkPluginNotReady",
          message: network ?? "",
        },
      ],
    };
  }

  /** Where the network of a Pod is that runs here; undefined before it has one, and for Pods on the node's own network. */
  podNamespace(podUid: string): string | undefined {
    return this.#state.sandboxRecords
      .all()
      .find(({ config, state, netnsPath }) => config.metadata.uid === podUid && state === "SANDBOX_READY" && netnsPath)
      ?.netnsPath;
  }

  runPodSandbox(config: cri.PodSandboxConfig, runtimeHandler: string, signal?: AbortSignal): Promise<string> {
    return this.#sandboxes.run(config, runtimeHandler, signal);
  }
  stopPodSandbox(podSandboxId: string): Promise<void> {
    return this.#sandboxes.stop(podSandboxId);
  }
  removePodSandbox(podSandboxId: string): Promise<void> {
    return this.#sandboxes.remove(podSandboxId);
  }
  podSandboxStatus(podSandboxId: string): Promise<cri.PodSandboxStatus> {
    return this.#sandboxes.status(podSandboxId);
  }
  listPodSandbox(filter?: cri.PodSandboxFilter): Promise<cri.PodSandbox[]> {
    return this.#sandboxes.list(filter);
  }
  updatePodSandboxResources(podSandboxId: string, resources: cri.LinuxContainerResources): Promise<void> {
    return this.#sandboxes.updateResources(podSandboxId, resources);
  }
  createContainer(
    podSandboxId: string,
    config: cri.ContainerConfig,
    sandboxConfig: cri.PodSandboxConfig,
    signal?: AbortSignal,
  ): Promise<string> {
    return this.#containers.create(podSandboxId, config, sandboxConfig, signal);
  }
  startContainer(containerId: string): Promise<void> {
    return this.#containers.start(containerId);
  }
  stopContainer(containerId: string, timeoutSeconds: number): Promise<void> {
    return this.#containers.stop(containerId, timeoutSeconds);
  }
  removeContainer(containerId: string): Promise<void> {
    return this.#containers.remove(containerId);
  }
  listContainers(filter?: cri.ContainerFilter): Promise<cri.Container[]> {
    return this.#containers.list(filter);
  }
  containerStatus(containerId: string): Promise<cri.ContainerStatus> {
    return this.#containers.status(containerId);
  }
  updateContainerResources(containerId: string, resources: cri.LinuxContainerResources): Promise<void> {
    return this.#containers.updateResources(containerId, resources);
  }

  async reopenContainerLog(containerId: string): Promise<void> {
    await this.#state.running(containerId).reopenLog();
  }

  execSync(containerId: string, command: string[], timeoutSeconds: number): Promise<cri.ExecSyncResult> {
    return this.#connections.execSync(containerId, command, timeoutSeconds);
  }
  exec(containerId: string, request: cri.ExecRequest): Promise<cri.ExecSession> {
    return this.#connections.exec(containerId, request);
  }
  attach(containerId: string, request: cri.AttachRequest): Promise<cri.ExecSession> {
    return this.#connections.attach(containerId, request);
  }
  portForward(podSandboxId: string, port: number): Promise<net.Socket> {
    return this.#connections.portForward(podSandboxId, port);
  }

  async containerStats(containerId: string): Promise<cri.ContainerStats> {
    const record = this.#state.containerRecord(containerId);
    const usage = await this.#state.deps.snapshots
      .usage(this.#state.snapshotPrefix + containerId)
      .catch(() => ({ sizeBytes: 0, inodes: 0 }));
    return this.#state.stats.container(record, await this.#state.running(containerId).stats(), usage);
  }

  async listContainerStats(filter: cri.ContainerFilter = {}): Promise<cri.ContainerStats[]> {
    const running = await this.listContainers({ ...filter, state: "CONTAINER_RUNNING" });
    return settled(running.map((container) => this.containerStats(container.id)));
  }

  async podSandboxStats(podSandboxId: string): Promise<cri.PodSandboxStats> {
    const record = this.#state.sandboxRecord(podSandboxId);
    const running = this.#state
      .containersOf(podSandboxId)
      .filter((container) => container.state === "CONTAINER_RUNNING");
    const containers = await settled(running.map((container) => this.containerStats(container.id)));
    const raw = await settled(running.slice(0, 1).map((container) => this.#state.running(container.id).stats()));
    return this.#state.stats.pod(record, containers, raw[0]);
  }

  async listPodSandboxStats(filter: cri.PodSandboxFilter = {}): Promise<cri.PodSandboxStats[]> {
    const ready = await this.listPodSandbox({ ...filter, state: "SANDBOX_READY" });
    return settled(ready.map((sandbox) => this.podSandboxStats(sandbox.id)));
  }

  async updateRuntimeConfig(config: { podCidr: string }): Promise<void> {
    await this.#state.deps.network.setPodCidr(config.podCidr);
  }

  containerEvents(signal: AbortSignal): AsyncIterable<cri.ContainerEvent> {
    const queue = new PushQueue<cri.ContainerEvent>();
    this.#state.listeners.add(queue);
    signal.addEventListener(
      "abort",
      () => {
        this.#state.listeners.delete(queue);
        queue.end();
      },
      { once: true },
    );
    return queue;
  }

  /** Removes everything of Pods from this machine: `berth reset`. */
  async destroyAll(): Promise<void> {
    for (const { id } of this.#state.sandboxRecords.all()) await this.removePodSandbox(id);
  }
}

/** What could be had; a container that ended meanwhile has no figures. */
async function settled<T>(tasks: Array<Promise<T>>): Promise<T[]> {
  return (await Promise.allSettled(tasks)).flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
}
