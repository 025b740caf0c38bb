import { mkdir, rm } from "node:fs/promises";
import path from "node:path";
import { messageOf, type Clock, type Logger } from "../../base/index.ts";
import { withAdvice } from "./advice/advice.ts";
import type { KubeletContext } from "./context.ts";
import type { KubeletConfiguration } from "./configuration.ts";
import { ImagePuller } from "./images/puller.ts";
import { registryAuth } from "./images/pull-secrets.ts";
import type { KubeletApi, KubeletHost, MachineFacts } from "./kubelet-api.ts";
import { MAX_PODS, NodeAgent } from "./node-status/node-agent.ts";
import { CsiDrivers } from "./csi/drivers.ts";
import { CsiVolumes } from "./csi/volumes.ts";
import { DeviceManager } from "./devices/manager.ts";
import { ResourceClaims } from "./dra/claims.ts";
import { DraDrivers } from "./dra/drivers.ts";
import { admitPod } from "./pod/admission.ts";
import { hasEnded } from "./pod/containers.ts";
import type { Container, cri, Pod } from "./pod/imports.ts";
import { REFUSED_BY_SHUTDOWN, shutdownPods } from "./shutdown/shutdown.ts";
import { hasStaticPods, ManifestSources } from "./static-pods/sources.ts";
import { StaticPods } from "./static-pods/static-pods.ts";
import type { Verdict } from "./pod/verdict.ts";
import { PodWorker } from "./pod/worker.ts";
import { PluginRegistry } from "./plugins/registry.ts";
import { servePodResources } from "./pod-resources/server.ts";
import { Prober, type ProbeKind } from "./probe/prober.ts";
import { LABELS, podLogDirectory } from "./runtime/sandbox-config.ts";
import type { DnsOptions } from "./runtime/name-resolution.ts";
import { StatusWriter } from "./status/status-writer.ts";
import { IdRanges } from "./userns/id-ranges.ts";
import { UsualFolder } from "./usual-folder.ts";
import { Upkeep } from "./upkeep/upkeep.ts";
import { VolumeStats, type PodVolumeStats } from "./volumes/stats.ts";
import { TokenCache } from "./volumes/tokens.ts";
import { Volumes } from "./volumes/volumes.ts";

export interface KubeletOptions {
  readonly api: KubeletApi;
  readonly host: KubeletHost;
  readonly runtime: cri.RuntimeService;
  readonly images: cri.ImageService;
  readonly clock: Clock;
  readonly log: Logger;
  readonly nodeName: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly taints?: ReadonlyArray<{ key: string; value?: string; effect: string }>;
  readonly podCidr?: string;
  readonly dns: DnsOptions;
  /** Pod folders and logs. Survives a reboot. */
  readonly dataDir: string;
  /** Mounts made for Pods. Gone after a reboot. */
  readonly runtimeDir: string;
  readonly kubeletPort: number;
  readonly configuration: KubeletConfiguration;
  /** See ADR 70. */
  readonly portWaitMs?: number;
  /** Resolves when no Service sends a Pod that is being deleted anything new; bounded. At once when left out. */
  readonly drained?: (pod: Pod) => Promise<void>;
}

/** Rounds over everything the node has, for what no event told. */
const SWEEP_MS = 30_000;

/** The agent of one node: makes the Pods bound to it run, and says how they are. */
export class Kubelet {
  readonly #options: KubeletOptions;
  readonly #workers = new Map<string, PodWorker>();
  readonly #stop = new AbortController();
  readonly #staticPods: StaticPods | undefined;
  #manifests: ManifestSources | undefined;
  #shuttingDown = false;
  readonly #usualFolder: UsualFolder;
  readonly #csiDrivers: CsiDrivers;
  readonly #csi: CsiVolumes;
  readonly #tokens: TokenCache;
  readonly #devices: DeviceManager;
  readonly #draDrivers: DraDrivers;
  readonly #claims: ResourceClaims;
  readonly #plugins: PluginRegistry;
  #podResources: { close(): Promise<void> } | undefined;
  #context: KubeletContext | undefined;
  #volumeStats: VolumeStats | undefined;
  #agent: NodeAgent | undefined;
  #upkeep: Upkeep | undefined;

  constructor(options: KubeletOptions) {
    this.#staticPods = hasStaticPods(options.configuration) ? new StaticPods(options) : undefined;
    this.#options = this.#staticPods ? { ...options, api: this.#staticPods.api } : options;
    const { runtimeDir } = options;
    this.#usualFolder = new UsualFolder(runtimeDir);
    const usualFolder = this.#usualFolder;
    this.#csiDrivers = new CsiDrivers({ ...options, usualFolder });
    this.#tokens = new TokenCache(options.api, options.clock);
    this.#csi = new CsiVolumes({
      ...options,
      tokens: this.#tokens,
      drivers: this.#csiDrivers,
      mountsRoot: path.join(runtimeDir, "pods"),
      pluginsRoot: path.join(runtimeDir, "plugins"),
      report: async () => this.#agent?.report(),
    });
    this.#devices = new DeviceManager({
      ...options,
      folder: path.join(runtimeDir, "device-plugins"),
      checkpoint: path.join(options.dataDir, "devices.json"),
      report: async () => this.#agent?.report(),
    });
    this.#draDrivers = new DraDrivers(options);
    this.#claims = new ResourceClaims({
      ...options,
      drivers: this.#draDrivers,
      checkpoint: path.join(options.dataDir, "claims.json"),
    });
    this.#plugins = new PluginRegistry({
      ...options,
      folder: path.join(runtimeDir, "plugins_registry"),
      usualFolder,
      handlers: { CSIPlugin: this.#csiDrivers, DevicePlugin: this.#devices, DRAPlugin: this.#draDrivers },
    });
  }

  /** Resolves when the node is registered and Ready. What ran before a restart is taken over, or cleaned away. */
  async start(): Promise<void> {
    const { api, runtime, host } = this.#options;
    for (const folder of [this.#options.dataDir, this.#options.runtimeDir])
      await mkdir(folder, { recursive: true, mode: 0o711 });
    const machine = await host.machine();
    this.#context = this.#makeContext(machine, (await runtime.version()).runtimeName);
    this.#upkeep = new Upkeep({
      ...this.#options,
      pods: () => api.pods(),
      podFolder: (uid) => this.#context!.volumes.podFolder(uid),
      logFolder: (pod) => podLogDirectory(this.#context!.logRoot, pod),
      evict: (pod, verdict, graceSeconds) => this.#evict(pod, verdict, graceSeconds),
      onPressure: () => void this.#agent?.report(),
    });
    this.#agent = new NodeAgent({
      ...this.#options,
      machine,
      labels: this.#options.labels ?? {},
      taints: this.#options.taints ?? [],
      podCidr: this.#options.podCidr,
      pressure: () => this.#upkeep!.pressure(),
      shuttingDown: () => this.#shuttingDown,
      volumesInUse: () => this.#csi.volumesInUse(),
      pluginDevices: () => this.#devices.quantities(),
    });
    if (this.#options.podCidr) await runtime.updateRuntimeConfig({ podCidr: this.#options.podCidr });
    await this.#csi.recover();
    await Promise.all([this.#devices.start(), this.#claims.recover()]);
    await this.#agent.start();
    await this.#plugins.start();
    this.#podResources = await servePodResources({
      host,
      socket: path.join(this.#options.runtimeDir, "pod-resources/kubelet.sock"),
      pods: () => api.pods(),
      devices: this.#devices,
      claims: this.#claims,
    });
    api.onPodChange((uid) => this.#podChanged(uid));
    api.onSourceChange((kind, namespace, name) => this.#sourceChanged(kind, namespace, name));
    await this.#startStaticPods();
    void this.#followRuntime();
    await this.#sweep();
    void this.#sweepLoop();
    void this.#upkeep.run(this.#stop.signal);
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    this.#manifests?.stop();
    this.#plugins.stop();
    this.#csiDrivers.close();
    this.#draDrivers.close();
    await Promise.all([this.#devices.stop(), this.#podResources?.close()]);
    this.#agent?.stop();
    await Promise.all([...this.#workers.values()].map((worker) => worker.release()));
  }

  /** Before the first sweep, which takes away what nobody wants. */
  async #startStaticPods(): Promise<void> {
    const staticPods = this.#staticPods;
    if (!staticPods) return;
    this.#manifests = new ManifestSources({ ...this.#options, onPods: (pods) => staticPods.want(pods) });
    await this.#manifests.start();
  }

  /**
   * The machine goes down: every Pod ends with its own grace, the lowest priorities first, each group within its time. No Pod is taken any more.
   * https://kubernetes.io/docs/concepts/cluster-administration/node-shutdown/
   */
  async shutdown(): Promise<void> {
    const { clock, configuration } = this.#options;
    this.#shuttingDown = true;
    // Told first, so that nothing new is sent here in place of what ends.
    await this.#agent?.report().catch(() => {});
    const workers = [...this.#workers.values()].filter((worker) => !worker.finished);
    await shutdownPods(workers, configuration.shutdownGroups, clock, this.#stop.signal);
  }

  #evict(pod: Pod, verdict: Verdict, graceSeconds: number): void {
    const worker = this.#workers.get(pod.metadata.uid!);
    if (!worker || worker.finished) return;
    this.#context!.event(pod, undefined, "Warning", "Evicted", verdict.message);
    worker.fail(verdict, graceSeconds);
  }

  /** How full the volumes of its Pods are; as of within the last minute. */
  async volumeStats(): Promise<readonly PodVolumeStats[]> {
    const { clock, log, api } = this.#options;
    if (!this.#context) return [];
    const { volumes } = this.#context;
    this.#volumeStats ??= new VolumeStats({ clock, log, volumes, csi: this.#csi, pods: () => api.pods() });
    return this.#volumeStats.all();
  }

  /** A Pod of this node, for logs, exec and the like. */
  findPod(namespace: string, name: string): Pod | undefined {
    return this.#options.api.pods().find((pod) => pod.metadata.namespace === namespace && pod.metadata.name === name);
  }

  #makeContext(machine: MachineFacts, runtimeName: string): KubeletContext {
    const { api, host, runtime, images, clock, log, nodeName, dataDir, dns } = this.#options;
    const event: KubeletContext["event"] = (pod, container, type, reason, message) => {
      const fieldPath = container && fieldPathOf(pod, container);
      api.event(
        {
          apiVersion: "v1",
          kind: "Pod",
          name: pod.metadata.name,
          namespace: pod.metadata.namespace,
          uid: pod.metadata.uid,
          resourceVersion: pod.metadata.resourceVersion,
          ...(fieldPath ? { fieldPath } : {}),
        },
        type,
        reason,
        withAdvice({ reason, message, pod: pod.metadata.name!, container: container?.name }),
      );
    };
    const prober = new Prober({
      context: { runtime, clock },
      clock,
      portWaitMs: this.#options.portWaitMs,
      onChange: (uid) => this.#workers.get(uid)?.wake(),
      onFailure: (uid, container, kind, output) => this.#probeFailed(uid, container, kind, output),
    });
    const room = { cpuMilli: machine.cpus * 1000, memoryBytes: machine.memoryBytes, pods: MAX_PODS };
    const fits = (pod: Pod) => admitPod(pod, api.pods(), room);
    const fitsAlone = (pod: Pod) => admitPod(pod, [], room);
    return {
      nodeName,
      machine,
      runtime,
      runtimeName,
      api,
      clock,
      log,
      prober,
      dns,
      puller: new ImagePuller({ images, clock, event, auth: (pod, image) => registryAuth(api, pod, image) }),
      idRanges: new IdRanges(path.join(dataDir, "pods")),
      volumes: new Volumes({
        api,
        host,
        clock,
        csi: this.#csi,
        tokens: this.#tokens,
        usualFolder: this.#usualFolder,
        podsRoot: path.join(dataDir, "pods"),
        mountsRoot: path.join(this.#options.runtimeDir, "pods"),
      }),
      devices: this.#devices,
      claims: this.#claims,
      statusWriter: new StatusWriter(api, log),
      logRoot: path.join(dataDir, "pod-logs"),
      seccompRoot: path.join(dataDir, "seccomp"),
      admit: async (pod, observed) => {
        if (observed.containers.length > 0) return undefined;
        return this.#shuttingDown ? REFUSED_BY_SHUTDOWN : (fits(pod) ?? (await this.#devices.admit(pod)));
      },
      fits,
      fitsAlone,
      runtimeHandler: async (pod) => {
        const name = pod.spec?.runtimeClassName;
        return name ? ((await api.runtimeClass(name))?.handler ?? name) : "";
      },
      drained: this.#options.drained ?? (async () => {}),
      removeLogs: (folder) => rm(folder, { recursive: true, force: true }),
      event,
    };
  }

  #probeFailed(uid: string, container: Container, kind: ProbeKind, output: string): void {
    const pod = this.#workers.get(uid)?.pod;
    if (!pod || pod.metadata.deletionTimestamp) return;
    const title = kind[0]!.toUpperCase() + kind.slice(1);
    this.#context!.event(pod, container, "Warning", "Unhealthy", `${title} probe failed: ${output}`);
  }

  #podChanged(uid: string): void {
    const pod = this.#options.api.pods().find((candidate) => candidate.metadata.uid === uid);
    const worker = this.#workers.get(uid);
    if (!pod) return worker?.vanish();
    if (worker && !worker.finished) return worker.update(pod);
    const fresh = new PodWorker(this.#context!, pod);
    this.#workers.set(uid, fresh);
    fresh.wake();
  }

  #sourceChanged(kind: "ConfigMap" | "Secret", namespace: string, name: string): void {
    for (const worker of this.#workers.values()) {
      const { pod } = worker;
      // One that has ended has nothing mounted any more.
      if (!hasEnded(pod) && pod.metadata.namespace === namespace && refersTo(pod, kind, name))
        void this.#context!.volumes
          .prepare(pod, {
            podIps: [pod.status?.podIP ?? ""],
            hostIps: this.#context!.machine.hostIps,
            nodeName: this.#options.nodeName,
            allocatableCpuMilli: this.#context!.machine.cpus * 1000,
            allocatableMemoryBytes: this.#context!.machine.memoryBytes,
          })
          .catch(() => worker.wake());
    }
  }

  /** The runtime says at once when a container ends. */
  async #followRuntime(): Promise<void> {
    const { runtime, clock, log } = this.#options;
    while (!this.#stop.signal.aborted) {
      try {
        for await (const event of runtime.containerEvents(this.#stop.signal)) {
          if (event.type !== "CONTAINER_STOPPED_EVENT") continue;
          const sandbox = await runtime.podSandboxStatus(event.podSandboxId).catch(() => undefined);
          if (sandbox) this.#workers.get(sandbox.metadata.uid)?.wake();
        }
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        log.warn("lost the runtime's events", { error: messageOf(error) });
      }
      await clock.sleep(1_000, this.#stop.signal).catch(() => {});
    }
  }

  async #sweepLoop(): Promise<void> {
    for (let round = 0; !this.#stop.signal.aborted; round++) {
      await this.#options.clock.sleep(SWEEP_MS, this.#stop.signal).catch(() => {});
      if (round === 0) void this.#csiDrivers.forgetOthers().catch(() => {});
      if (!this.#stop.signal.aborted)
        await this.#sweep().catch((error: unknown) =>
          this.#options.log.warn("sweeping the node failed", { error: messageOf(error) }),
        );
    }
  }

  /** Every Pod of the API has a worker, and everything of Pods that the API doesn't have goes. */
  async #sweep(): Promise<void> {
    const { api, runtime } = this.#options;
    void this.#staticPods?.sync();
    for (const [uid, worker] of this.#workers) if (worker.finished) this.#workers.delete(uid);
    const wanted = new Map(api.pods().map((pod) => [pod.metadata.uid!, pod]));
    for (const uid of wanted.keys()) if (!this.#workers.has(uid)) this.#podChanged(uid);
    for (const sandbox of await runtime.listPodSandbox()) {
      const uid = sandbox.labels[LABELS.podUid];
      if (uid && !wanted.has(uid) && !this.#workers.has(uid)) {
        await runtime.stopPodSandbox(sandbox.id);
        await runtime.removePodSandbox(sandbox.id);
      }
    }
    const isHere = (uid: string) => wanted.has(uid) || this.#workers.has(uid);
    this.#devices.keepOnly(isHere);
    await this.#claims.keepOnly(isHere);
    for (const uid of await this.#context!.volumes.known()) {
      if (!wanted.has(uid) && !this.#workers.has(uid)) await this.#teardownLeft(uid);
    }
  }

  /** A driver that is not back yet gives its volumes up with a later sweep. */
  async #teardownLeft(uid: string): Promise<void> {
    try {
      await this.#context!.volumes.teardown(uid);
    } catch (error) {
      this.#options.log.warn("what a former Pod mounted is still there", { uid, error: messageOf(error) });
    }
  }
}

function fieldPathOf(pod: Pod, container: Container): string {
  const list = pod.spec?.containers.includes(container)
    ? "containers"
    : pod.spec?.initContainers?.includes(container)
      ? "initContainers"
      : "ephemeralContainers";
  return `spec.${list}{${container.name}}`;
}

function refersTo(pod: Pod, kind: "ConfigMap" | "Secret", name: string): boolean {
  return (pod.spec?.volumes ?? []).some((volume) =>
    kind === "ConfigMap"
      ? volume.configMap?.name === name || volume.projected?.sources?.some((source) => source.configMap?.name === name)
      : volume.secret?.secretName === name || volume.projected?.sources?.some((source) => source.secret?.name === name),
  );
}
