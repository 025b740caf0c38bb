import type { Duplex } from "node:stream";
import { RUNTIME_PROTO, type cri } from "../../api/index.ts";
import { deadlineExceeded, hasCode, notFound, type Clock } from "../../base/index.ts";
import { GrpcConnection, orWithout, type Wire } from "../grpc/index.ts";
import { containerEvents } from "./events.ts";
import * as from from "./from-wire.ts";
import { openPort, openSession } from "./session.ts";
import * as to from "./to-wire.ts";

/** Beyond the grace or timeout that a call was given. */
const MARGIN_MS = 30_000;

/** Another container runtime (containerd, CRI-O) by its CRI v1 socket, as the kubelet knows runtimes. */
export class RemoteRuntime implements cri.RuntimeService {
  readonly #connection: GrpcConnection;
  readonly #clock: Clock;

  constructor(endpoint: string, clock: Clock) {
    this.#connection = new GrpcConnection(endpoint, { proto: RUNTIME_PROTO, name: "runtime.v1.RuntimeService" }, clock);
    this.#clock = clock;
  }

  close(): void {
    this.#connection.close();
  }

  async version(): Promise<cri.VersionResponse> {
    const { runtimeName, runtimeVersion, runtimeApiVersion } = await this.#connection.call("version", {
      version: "v1",
    });
    return { runtimeName, runtimeVersion, runtimeApiVersion };
  }
  async status(): Promise<{ conditions: cri.RuntimeCondition[] }> {
    const { status } = await this.#connection.call("status", {});
    return { conditions: status.conditions };
  }
  async updateRuntimeConfig({ podCidr }: { podCidr: string }): Promise<void> {
    await this.#connection.call("updateRuntimeConfig", { runtimeConfig: { networkConfig: { podCidr } } });
  }

  async runPodSandbox(config: cri.PodSandboxConfig, runtimeHandler: string, signal?: AbortSignal): Promise<string> {
    const request = { config: to.sandboxConfig(config), runtimeHandler };
    return (await this.#connection.call("runPodSandbox", request, { timeoutMs: 240_000, signal }))["podSandboxId"];
  }
  async stopPodSandbox(podSandboxId: string): Promise<void> {
    await gone(this.#connection.call("stopPodSandbox", { podSandboxId }));
  }
  async removePodSandbox(podSandboxId: string): Promise<void> {
    await gone(this.#connection.call("removePodSandbox", { podSandboxId }));
  }
  async podSandboxStatus(podSandboxId: string): Promise<cri.PodSandboxStatus> {
    return from.sandboxStatus((await this.#connection.call("podSandboxStatus", { podSandboxId }))["status"]);
  }
  async listPodSandbox(filter?: cri.PodSandboxFilter): Promise<cri.PodSandbox[]> {
    const { items } = await this.#connection.call("listPodSandbox", to.filter(filter));
    return (items as Wire[]).map(from.sandbox);
  }

  async createContainer(
    podSandboxId: string,
    config: cri.ContainerConfig,
    sandboxConfig: cri.PodSandboxConfig,
    signal?: AbortSignal,
  ): Promise<string> {
    const request = {
      podSandboxId,
      config: to.containerConfig(config),
      sandboxConfig: to.sandboxConfig(sandboxConfig),
    };
    return (await this.#connection.call("createContainer", request, { signal }))["containerId"];
  }
  async startContainer(containerId: string): Promise<void> {
    await this.#connection.call("startContainer", { containerId });
  }
  async stopContainer(containerId: string, timeoutSeconds: number): Promise<void> {
    const timeoutMs = timeoutSeconds * 1000 + MARGIN_MS;
    await gone(this.#connection.call("stopContainer", { containerId, timeout: timeoutSeconds }, { timeoutMs }));
  }
  async removeContainer(containerId: string): Promise<void> {
    await gone(this.#connection.call("removeContainer", { containerId }));
  }
  async listContainers(filter?: cri.ContainerFilter): Promise<cri.Container[]> {
    const { containers } = await this.#connection.call("listContainers", to.filter(filter));
    return (containers as Wire[]).map(from.container);
  }
  async containerStatus(containerId: string): Promise<cri.ContainerStatus> {
    const { status, info } = await this.#connection.call("containerStatus", { containerId, verbose: true });
    if (!status) throw notFound(`could not find container ${JSON.stringify(containerId)}`);
    const wire = status as Wire;
    return from.containerStatus(wire, info ?? {});
  }
  async updateContainerResources(containerId: string, resources: cri.LinuxContainerResources): Promise<void> {
    await this.#connection.call("updateContainerResources", { containerId, linux: to.linuxResources(resources) });
  }
  /** Runtimes before 2.1 of containerd don't know this call; the containers' own limits hold all the same. */
  async updatePodSandboxResources(podSandboxId: string, resources: cri.LinuxContainerResources): Promise<void> {
    const request = { podSandboxId, resources: to.linuxResources(resources) };
    await orWithout(this.#connection.call("updatePodSandboxResources", request), {});
  }
  async reopenContainerLog(containerId: string): Promise<void> {
    await this.#connection.call("reopenContainerLog", { containerId });
  }

  async execSync(containerId: string, command: string[], timeoutSeconds: number): Promise<cri.ExecSyncResult> {
    const timeoutMs = timeoutSeconds === 0 ? 0 : timeoutSeconds * 1000 + MARGIN_MS;
    const request = { containerId, cmd: command, timeout: timeoutSeconds };
    const { stdout, stderr, exitCode } = await this.#connection
      .call("execSync", request, { timeoutMs })
      .catch((error: unknown) => {
        // containerd before 1.7 says it in words and with the code for unknown.
        if (/deadline exceeded|timeout .* exceeded/i.test(String(error)))
          throw deadlineExceeded(`command did not end within ${timeoutSeconds} s`, { cause: error });
        throw error;
      });
    return { stdout, stderr, exitCode };
  }
  async exec(containerId: string, request: cri.ExecRequest): Promise<cri.ExecSession> {
    const { command, tty, stdin, stdout, stderr } = request;
    const wants = { tty, stdin, stdout, stderr: stderr && !tty };
    const { url } = await this.#connection.call("exec", { containerId, cmd: command, ...wants });
    return openSession(url, wants, this.#clock);
  }
  async attach(containerId: string, request: cri.AttachRequest): Promise<cri.ExecSession> {
    const { tty, stdin, stdout, stderr } = request;
    const wants = { tty, stdin, stdout, stderr: stderr && !tty };
    const { url } = await this.#connection.call("attach", { containerId, ...wants });
    return openSession(url, wants, this.#clock);
  }
  async portForward(podSandboxId: string, port: number): Promise<Duplex> {
    const { url } = await this.#connection.call("portForward", { podSandboxId, port: [port] });
    return openPort(url, this.#clock);
  }

  async containerStats(containerId: string): Promise<cri.ContainerStats> {
    return from.containerStats((await this.#connection.call("containerStats", { containerId }))["stats"]);
  }
  async listContainerStats(filter: cri.ContainerFilter = {}): Promise<cri.ContainerStats[]> {
    const { state: _, ...rest } = filter;
    const { stats } = await this.#connection.call("listContainerStats", { filter: rest });
    return (stats as Wire[]).map(from.containerStats);
  }
  async podSandboxStats(podSandboxId: string): Promise<cri.PodSandboxStats> {
    const [found] = await this.listPodSandboxStats({ id: podSandboxId });
    if (!found) throw notFound(`could not find sandbox ${JSON.stringify(podSandboxId)}`);
    return found;
  }
  /** Sums of the containers': not every runtime measures Pods. */
  async listPodSandboxStats(filter: cri.PodSandboxFilter = {}): Promise<cri.PodSandboxStats[]> {
    const [sandboxes, containers, stats] = await Promise.all([
      this.listPodSandbox({ ...filter, state: "SANDBOX_READY" }),
      this.listContainers({ state: "CONTAINER_RUNNING" }),
      this.listContainerStats(),
    ]);
    const sandboxOf = new Map(containers.map(({ id, podSandboxId }) => [id, podSandboxId]));
    return sandboxes.map((sandbox) =>
      podStats(
        sandbox,
        stats.filter(({ attributes }) => sandboxOf.get(attributes.id) === sandbox.id),
      ),
    );
  }

  containerEvents(signal: AbortSignal): AsyncIterable<cri.ContainerEvent> {
    return containerEvents(this.#connection, () => this.listContainers(), this.#clock, signal);
  }
}

function podStats(
  { id, metadata, labels, annotations }: cri.PodSandbox,
  containers: cri.ContainerStats[],
): cri.PodSandboxStats {
  const sum = (read: (stats: cri.ContainerStats) => number) =>
    containers.reduce((total, stats) => total + read(stats), 0);
  const timestamp = Math.max(0, ...containers.map(({ cpu }) => cpu.timestamp));
  const unknown = { name: "", rxBytes: 0, rxErrors: 0, txBytes: 0, txErrors: 0 };
  return {
    attributes: { id, metadata, labels, annotations },
    cpu: {
      timestamp,
      usageCoreNanoSeconds: sum(({ cpu }) => cpu.usageCoreNanoSeconds),
      usageNanoCores: sum(({ cpu }) => cpu.usageNanoCores),
    },
    memory: {
      timestamp,
      workingSetBytes: sum(({ memory }) => memory.workingSetBytes),
      availableBytes: 0,
      usageBytes: sum(({ memory }) => memory.usageBytes),
      rssBytes: sum(({ memory }) => memory.rssBytes),
      pageFaults: sum(({ memory }) => memory.pageFaults),
      majorPageFaults: sum(({ memory }) => memory.majorPageFaults),
    },
    network: { timestamp, defaultInterface: unknown, interfaces: [] },
    process: { timestamp, processCount: containers.length },
    containers,
  };
}

/** Stop and remove succeed for what does not exist. */
async function gone(call: Promise<unknown>): Promise<void> {
  try {
    await call;
  } catch (error) {
    if (!hasCode(error, "notFound")) throw error;
  }
}
