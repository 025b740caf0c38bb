import { notFound, notImplemented, PushQueue, type Clock } from "../../../base/index.ts";
import type { cri } from "../../../api/index.ts";

/** A runtime and image store in memory, for tests: containers run until told to exit. */
export class FakeRuntime implements cri.RuntimeService, cri.ImageService {
  readonly calls: string[] = [];
  readonly sandboxes = new Map<string, cri.PodSandboxStatus>();
  readonly containers = new Map<string, cri.ContainerStatus>();
  readonly images = new Map<string, cri.CriImage>();
  readonly execResults = new Map<string, number>();
  readonly #clock: Clock;
  readonly #events = new PushQueue<cri.ContainerEvent>();
  #sequence = 0;

  constructor(clock: Clock, images: readonly string[] = ["busybox:latest"]) {
    this.#clock = clock;
    for (const name of images)
      this.images.set(name, {
        id: `sha256:${name}`,
        repoTags: [name],
        repoDigests: [],
        sizeBytes: 1,
        username: "",
        pinned: false,
        spec: { image: name },
        local: true,
      });
  }

  /** The container's process ends. */
  exit(name: string, exitCode: number): void {
    const status = [...this.containers.values()].findLast(
      (container) => container.metadata.name === name && container.state === "CONTAINER_RUNNING",
    );
    if (!status) throw notFound(`no running container ${name}`);
    Object.assign(status, {
      state: "CONTAINER_EXITED",
      exitCode,
      finishedAt: this.#nowNanos(),
      reason: exitCode === 0 ? "Completed" : "Error",
    });
    this.#events.push({
      containerId: status.id,
      type: "CONTAINER_STOPPED_EVENT",
      createdAt: this.#nowNanos(),
      podSandboxId: status.podSandboxId,
    });
  }
  running(): string[] {
    return [...this.containers.values()]
      .filter((container) => container.state === "CONTAINER_RUNNING")
      .map((container) => container.metadata.name);
  }

  async version() {
    return { runtimeName: "fake", runtimeVersion: "1", runtimeApiVersion: "v1" };
  }
  async status(): Promise<{ conditions: cri.RuntimeCondition[] }> {
    return { conditions: [] };
  }
  async runPodSandbox(config: cri.PodSandboxConfig): Promise<string> {
    const id = `sandbox-${++this.#sequence}`;
    this.calls.push(`runPodSandbox ${config.metadata.name}`);
    this.sandboxes.set(id, {
      id,
      metadata: config.metadata,
      state: "SANDBOX_READY",
      createdAt: this.#nowNanos(),
      labels: config.labels,
      annotations: config.annotations,
      runtimeHandler: "",
      network: { ip: `10.0.0.${this.#sequence}`, additionalIps: [] },
      linux: { namespaces: config.linux.securityContext.namespaceOptions },
    });
    return id;
  }
  async stopPodSandbox(id: string): Promise<void> {
    const sandbox = this.sandboxes.get(id);
    if (sandbox) sandbox.state = "SANDBOX_NOTREADY";
    for (const container of this.containers.values())
      if (container.podSandboxId === id) await this.stopContainer(container.id);
  }
  async removePodSandbox(id: string): Promise<void> {
    this.sandboxes.delete(id);
  }
  async podSandboxStatus(id: string): Promise<cri.PodSandboxStatus> {
    const sandbox = this.sandboxes.get(id);
    if (!sandbox) throw notFound(`no sandbox ${id}`);
    return { ...sandbox };
  }
  async listPodSandbox(filter?: cri.PodSandboxFilter): Promise<cri.PodSandbox[]> {
    return [...this.sandboxes.values()]
      .filter((sandbox) => matches(sandbox.labels, filter?.labelSelector))
      .map((sandbox) => ({ ...sandbox }));
  }

  async createContainer(podSandboxId: string, config: cri.ContainerConfig): Promise<string> {
    const id = `${config.metadata.name}-${++this.#sequence}`;
    this.containers.set(id, {
      id,
      podSandboxId,
      metadata: config.metadata,
      image: config.image,
      imageRef: config.image.image,
      imageId: config.image.image,
      state: "CONTAINER_CREATED",
      createdAt: this.#nowNanos() + this.#sequence,
      labels: config.labels,
      annotations: config.annotations,
      startedAt: 0,
      finishedAt: 0,
      exitCode: 0,
      reason: "",
      message: "",
      mounts: config.mounts,
      logPath: config.logPath,
      resources: config.linux.resources,
      pid: 0,
    });
    return id;
  }
  async startContainer(id: string): Promise<void> {
    const container = this.containers.get(id)!;
    this.calls.push(`start ${container.metadata.name}`);
    Object.assign(container, { state: "CONTAINER_RUNNING", startedAt: this.#nowNanos(), pid: 1 });
  }
  /** Names of containers that end only when their time is up. */
  readonly stubborn = new Set<string>();

  async stopContainer(id: string, timeoutSeconds = 0): Promise<void> {
    const container = this.containers.get(id);
    const isRunning = () => this.containers.get(id)?.state === "CONTAINER_RUNNING";
    const deadlineMs = this.#clock.monotonicMs() + timeoutSeconds * 1000;
    while (isRunning() && this.stubborn.has(container!.metadata.name) && this.#clock.monotonicMs() < deadlineMs)
      await this.#clock.sleep(100);
    if (!container || !isRunning()) return;
    this.calls.push(`stop ${container.metadata.name}`);
    this.exit(container.metadata.name, 137);
  }
  async removeContainer(id: string): Promise<void> {
    this.containers.delete(id);
  }
  async listContainers(filter?: cri.ContainerFilter): Promise<cri.Container[]> {
    return [...this.containers.values()]
      .filter((container) => matches(container.labels, filter?.labelSelector))
      .map((container) => ({ ...container }));
  }
  async containerStatus(id: string): Promise<cri.ContainerStatus> {
    const container = this.containers.get(id);
    if (!container) throw notFound(`no container ${id}`);
    return { ...container };
  }
  async updateContainerResources(id: string, resources: cri.LinuxContainerResources): Promise<void> {
    const container = this.containers.get(id)!;
    container.resources = { ...container.resources, ...resources };
  }
  async updatePodSandboxResources(): Promise<void> {}
  async reopenContainerLog(): Promise<void> {}
  async execSync(_id: string, command: string[]): Promise<cri.ExecSyncResult> {
    return { stdout: Buffer.alloc(0), stderr: Buffer.alloc(0), exitCode: this.execResults.get(command.join(" ")) ?? 0 };
  }
  async exec(): Promise<never> {
    throw notImplemented("the fake runtime has no exec");
  }
  async attach(): Promise<never> {
    throw notImplemented("the fake runtime has no attach");
  }
  async portForward(): Promise<never> {
    throw notImplemented("the fake runtime has no port-forward");
  }
  async containerStats(): Promise<never> {
    throw notImplemented("the fake runtime has no stats");
  }
  async listContainerStats(): Promise<never[]> {
    return [];
  }
  async podSandboxStats(): Promise<never> {
    throw notImplemented("the fake runtime has no stats");
  }
  async listPodSandboxStats(): Promise<never[]> {
    return [];
  }
  async updateRuntimeConfig(): Promise<void> {}
  containerEvents(signal: AbortSignal): AsyncIterable<cri.ContainerEvent> {
    signal.addEventListener("abort", () => this.#events.end());
    return this.#events;
  }

  async listImages(): Promise<cri.CriImage[]> {
    return [...this.images.values()];
  }
  async imageStatus(image: cri.ImageSpec): Promise<cri.CriImage | undefined> {
    return this.images.get(image.image.includes(":") ? image.image : `${image.image}:latest`);
  }
  async pullImage(image: cri.ImageSpec): Promise<string> {
    throw notFound(`pull access denied for ${image.image}, repository does not exist`);
  }
  async removeImage(image: cri.ImageSpec): Promise<void> {
    this.images.delete(image.image);
  }
  async imageFsInfo() {
    return { imageFilesystems: [], containerFilesystems: [] };
  }

  #nowNanos(): number {
    return this.#clock.nowMs() * 1e6;
  }
}

function matches(
  labels: Readonly<Record<string, string>>,
  selector: Readonly<Record<string, string>> | undefined,
): boolean {
  return Object.entries(selector ?? {}).every(([key, value]) => labels[key] === value);
}
