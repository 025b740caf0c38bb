import { existsSync, readFileSync } from "node:fs";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { constants as osConstants } from "node:os";
import net from "node:net";
import path from "node:path";
import {
  assert,
  failedPrecondition,
  hasCode,
  invalidArgument,
  MAX_SMALL_FILE_BYTES,
  messageOf,
  notFound,
  PushQueue,
  randomHex,
  Undo,
  unavailable,
  type InstanceContext,
} from "../../base/index.ts";
import type { cri, OciMount, OciSeccomp } from "../../api/index.ts";
import { defaultSeccompProfile, LinuxNetns, LinuxSockets, mountsBelow, mountTmpfs, unmount } from "../../host/index.ts";
import {
  boundingSet,
  resolveUser,
  type Core,
  type Isolation,
  type RuntimeContainer,
  type Sandbox,
} from "../container/index.ts";
import type { Image, ImageService } from "../image/index.ts";
import type { SnapshotStore } from "../snapshot/index.ts";
import { Records, type ContainerRecord, type SandboxRecord } from "./records.ts";
import { containerSpec, ociResources } from "./spec.ts";
import { StatsSampler } from "./stats.ts";
import { collect, session } from "./streams.ts";
import type { PodNetwork } from "./types.ts";

export interface CriDeps {
  readonly context: InstanceContext;
  readonly core: Core;
  readonly images: Pick<ImageService, "resolve">;
  readonly snapshots: Pick<SnapshotStore, "prepare" | "mount" | "mountLayer" | "unmount" | "remove" | "usage" | "list">;
  readonly network: PodNetwork;
  /** By runtime handler; "" is the default. A handler that is none of these is the name of an OCI runtime for the default one. */
  readonly isolations: ReadonlyMap<string, Isolation>;
  /** Tells several nodes over one engine apart: each sees, recovers and reclaims its own only. Left out: the machine itself. */
  readonly node?: LocalNodeRuntime;
}

/** A further node on this machine. */
export interface LocalNodeRuntime {
  /** Of `a-z 0-9`; part of names on disk and of cgroups. */
  readonly tag: string;
  /** The network namespace that is the node's host network. */
  readonly netnsPath: string;
}

/** The label by which sandboxes of Pods are told from Docker's containers; those of a further node have its tag behind a colon. */
export const CRI_OWNER = { key: "berth.owner", value: "cri" } as const;
const ID_BYTES = 32;
const DEFAULT_STOP_SIGNAL = "SIGTERM";
/** How long a monitor has to report the end of a process that is gone. */
const EXIT_PATIENCE_MS = 2_000;

/**
 * Kubernetes' container runtime interface over the engine's own parts: the same images, snapshots and container core that `docker run` ends in.
 * Facts stand on disk; a restart finds what runs.
 */
export class CriRuntime implements cri.RuntimeService {
  readonly #deps: CriDeps;
  readonly #sandboxRecords: Records<SandboxRecord>;
  readonly #containerRecords: Records<ContainerRecord>;
  readonly #sandboxes = new Map<string, Sandbox>();
  readonly #listeners = new Set<PushQueue<cri.ContainerEvent>>();
  readonly #stats: StatsSampler;
  readonly #netns = new LinuxNetns();
  /** Snapshots of Pods' containers have keys with this in front. */
  readonly #snapshotPrefix: string;
  readonly #ownerLabel: string;
  readonly #runFolder: string;
  readonly #lost = new Set<string>();
  readonly #capabilities = boundingSet(readFileSync("/proc/self/status", "utf8"));

  constructor(deps: CriDeps) {
    this.#deps = deps;
    const { node, context } = deps;
    const folder = path.join(context.dataDir, node ? `cri-${node.tag}` : "cri");
    this.#runFolder = path.join(context.runtimeDir, node ? `cri-${node.tag}` : "cri");
    this.#snapshotPrefix = node ? `cri.${node.tag}-` : "cri-";
    this.#ownerLabel = node ? `${CRI_OWNER.value}:${node.tag}` : CRI_OWNER.value;
    this.#sandboxRecords = new Records(path.join(folder, "sandboxes"));
    this.#containerRecords = new Records(path.join(folder, "containers"));
    this.#stats = new StatsSampler(deps.context.clock);
  }

  /** Takes over what a former daemon left running. `found` are the isolations' recovered sandboxes. */
  async recover(found: readonly Sandbox[]): Promise<void> {
    await Promise.all([this.#sandboxRecords.load(), this.#containerRecords.load()]);
    for (const sandbox of found) {
      if (sandbox.request.labels?.[CRI_OWNER.key] !== this.#ownerLabel) continue;
      if (this.#sandboxRecords.get(sandbox.id)) this.#sandboxes.set(sandbox.id, sandbox);
      else await sandbox.destroy();
    }
    for (const record of this.#sandboxRecords.all()) {
      if (record.state === "SANDBOX_READY" && !this.#sandboxes.has(record.id))
        await this.#sandboxRecords.put({ ...record, state: "SANDBOX_NOTREADY" });
    }
    for (const record of this.#containerRecords.all()) await this.#recoverContainer(record);
    await this.#deps.network.recover(
      new Set(
        this.#sandboxRecords
          .all()
          .filter((record) => record.state === "SANDBOX_READY")
          .map((record) => record.id),
      ),
    );
    await this.#reclaim();
  }

  async #recoverContainer(record: ContainerRecord): Promise<void> {
    const container = this.#sandboxes.get(record.podSandboxId)?.container(record.id);
    if (container) return this.#watch(record, container);
    if (record.state === "CONTAINER_EXITED") return;
    await this.#containerRecords.put({
      ...record,
      state: "CONTAINER_EXITED",
      exitCode: 255,
      reason: "Unknown",
      message: "the container's end was not seen: the machine or its monitor went down",
      finishedAt: this.#now(),
    });
  }

  /** Removes what an interrupted create left: folders and snapshots without a record. */
  async #reclaim(): Promise<void> {
    for (const id of await readdir(this.#runFolder).catch(() => []))
      if (!this.#sandboxRecords.get(id)) await this.#removeFolder(id);
    for (const { key } of this.#deps.snapshots.list()) {
      const id = key.slice(this.#snapshotPrefix.length);
      if (!key.startsWith(this.#snapshotPrefix) || this.#containerRecords.get(id)) continue;
      await this.#removeBundle(id);
      await this.#deps.snapshots.remove(key);
    }
  }

  async version(): Promise<cri.VersionResponse> {
    return { runtimeName: "berth", runtimeVersion: "0.1.0", runtimeApiVersion: "v1" };
  }

  async status(): Promise<{ conditions: cri.RuntimeCondition[] }> {
    const network = this.#deps.network.notReady();
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

  async runPodSandbox(config: cri.PodSandboxConfig, runtimeHandler: string, signal?: AbortSignal): Promise<string> {
    const id = this.#newId();
    const isolation = this.#isolation(runtimeHandler);
    const options = config.linux.securityContext.namespaceOptions;
    await using undo = new Undo();
    const folder = this.#folder(id);
    await mkdir(folder, { recursive: true, mode: 0o711 });
    undo.defer(() => this.#removeFolder(id));

    const host = options.network === "NODE";
    const addresses = host
      ? { netnsPath: this.#deps.node?.netnsPath ?? "", ips: [] }
      : await this.#deps.network.add({ id, config });
    if (!host) undo.defer(() => this.#deps.network.remove(id));
    if (config.dnsConfig)
      await writeFile(path.join(folder, "resolv.conf"), resolvConf(config.dnsConfig), { mode: 0o644 });
    await this.#makeShm(folder, options.ipc);
    await this.#deps.core.cgroup(this.#cgroupOf(config)).limit(config.linux.resources ?? {});
    undo.defer(() => this.#deps.core.cgroup(this.#cgroupOf(config)).remove());
    const sandbox = await isolation.createSandbox(
      {
        id,
        ...(addresses.netnsPath === "" ? {} : { netnsPath: addresses.netnsPath }),
        shared: { ipc: options.ipc === "POD", uts: !host, pid: options.pid === "POD" },
        hostname: config.hostname,
        sysctls: config.linux.sysctls,
        cgroupParent: this.#cgroupOf(config),
        resources: ociResources(config.linux.resources ?? {}),
        labels: { [CRI_OWNER.key]: this.#ownerLabel },
      },
      signal,
    );
    undo.defer(() => sandbox.destroy());
    if (signal?.aborted) throw unavailable("the sandbox is not wanted any more");
    const record: SandboxRecord = {
      id,
      config,
      runtimeHandler,
      createdAt: this.#now(),
      state: "SANDBOX_READY",
      ips: addresses.ips,
      netnsPath: addresses.netnsPath,
    };
    await this.#sandboxRecords.put(record);
    this.#sandboxes.set(id, sandbox);
    undo.commit();
    return id;
  }

  async #makeShm(folder: string, ipc: cri.NamespaceMode): Promise<void> {
    if (ipc !== "POD") return;
    const shm = path.join(folder, "shm");
    await mkdir(shm, { recursive: true });
    mountTmpfs(shm, { sizeBytes: 64 * 1024 * 1024, mode: 0o1777 });
  }

  async stopPodSandbox(podSandboxId: string): Promise<void> {
    const record = this.#sandboxRecords.get(podSandboxId);
    if (!record) return;
    await Promise.all(
      this.#containersOf(podSandboxId)
        .filter((container) => container.state !== "CONTAINER_EXITED")
        .map((container) => this.stopContainer(container.id, 0)),
    );
    await this.#sandboxes.get(podSandboxId)?.destroy();
    this.#sandboxes.delete(podSandboxId);
    if (!usesHostNetwork(record)) await this.#deps.network.remove(podSandboxId);
    if (record.state === "SANDBOX_READY") await this.#sandboxRecords.put({ ...record, state: "SANDBOX_NOTREADY" });
  }

  async removePodSandbox(podSandboxId: string): Promise<void> {
    const record = this.#sandboxRecords.get(podSandboxId);
    if (!record) return;
    await this.stopPodSandbox(podSandboxId);
    await Promise.all(this.#containersOf(podSandboxId).map((container) => this.removeContainer(container.id)));
    await this.#removeFolder(podSandboxId);
    await this.#deps.core.cgroup(this.#cgroupOf(record.config)).remove();
    await this.#sandboxRecords.delete(podSandboxId);
  }

  async podSandboxStatus(podSandboxId: string): Promise<cri.PodSandboxStatus> {
    const record = this.#sandboxRecord(podSandboxId);
    const [ip = "", ...additionalIps] = record.ips;
    return {
      ...toSandbox(record),
      network: { ip, additionalIps },
      linux: { namespaces: record.config.linux.securityContext.namespaceOptions },
    };
  }

  async listPodSandbox(filter: cri.PodSandboxFilter = {}): Promise<cri.PodSandbox[]> {
    return this.#sandboxRecords
      .all()
      .map(toSandbox)
      .filter(
        (sandbox) =>
          (!filter.id || sandbox.id.startsWith(filter.id)) &&
          (!filter.state || sandbox.state === filter.state) &&
          hasLabels(sandbox.labels, filter.labelSelector),
      );
  }

  async createContainer(
    podSandboxId: string,
    config: cri.ContainerConfig,
    sandboxConfig: cri.PodSandboxConfig,
    signal?: AbortSignal,
  ): Promise<string> {
    const record = this.#sandboxRecord(podSandboxId);
    const sandbox = this.#sandboxes.get(podSandboxId);
    if (!sandbox || record.state !== "SANDBOX_READY")
      throw failedPrecondition(`sandbox ${podSandboxId} is not running`);
    const { images, snapshots, core } = this.#deps;
    const image = await images.resolve(config.image.image);
    const id = this.#newId();
    // Who asks over the CRI socket may want no log.
    const logPath = config.logPath === "" ? "" : path.join(record.config.logDirectory, config.logPath);
    if (logPath !== "") await mkdir(path.dirname(logPath), { recursive: true, mode: 0o755 });
    await using undo = new Undo();
    await snapshots.prepare(this.#snapshotPrefix + id, image.chainId);
    undo.defer(() => snapshots.remove(this.#snapshotPrefix + id));
    const rootfs = core.layout.rootfs(id);
    await snapshots.mount(this.#snapshotPrefix + id, rootfs);
    undo.defer(() => this.#removeBundle(id));
    if (config.workingDir) await mkdir(path.join(rootfs, path.resolve("/", config.workingDir)), { recursive: true });

    const user = await this.#user(config, image, rootfs);
    const imageMounts = await this.#imageMounts(id, config);
    const spec = containerSpec({
      config,
      image,
      rootfs,
      user,
      namespaces: sandbox.namespaces,
      ...(config.linux.securityContext.namespaceOptions.pid === "TARGET" ? { targetPid: this.#targetPid(config) } : {}),
      hostname: sandboxConfig.hostname,
      resolvConf: record.config.dnsConfig && path.join(this.#folder(podSandboxId), "resolv.conf"),
      shm:
        record.config.linux.securityContext.namespaceOptions.ipc === "POD"
          ? path.join(this.#folder(podSandboxId), "shm")
          : undefined,
      cgroupsPath: path.join(this.#cgroupOf(record.config), id),
      seccomp: await seccompOf(config.linux.securityContext),
      imageMounts,
      oomScoreAdjFloor: 0,
      available: this.#capabilities,
    });
    const container = await sandbox.createContainer(
      {
        id,
        spec,
        stdin: config.stdin,
        stdinOnce: config.stdinOnce,
        ...(logPath === "" ? {} : { logPath }),
        ...this.#runtimeName(record.runtimeHandler),
      },
      signal,
    );
    undo.defer(() => container.delete());
    const fresh: ContainerRecord = {
      id,
      podSandboxId,
      config,
      imageId: image.id,
      imageRef: image.repoDigests[0] ?? image.id,
      createdAt: this.#now(),
      logPath,
      user: { uid: user.uid, gid: user.gid, supplementalGroups: [...user.additionalGids] },
      stopSignal: config.stopSignal ?? image.config.config?.StopSignal ?? DEFAULT_STOP_SIGNAL,
      resources: config.linux.resources,
      state: "CONTAINER_CREATED",
      startedAt: 0,
      finishedAt: 0,
      exitCode: 0,
      reason: "",
      message: "",
    };
    await this.#containerRecords.put(fresh);
    undo.commit();
    this.#watch(fresh, container);
    this.#tell(fresh, "CONTAINER_CREATED_EVENT");
    return id;
  }

  async #user(config: cri.ContainerConfig, image: Image, rootfs: string) {
    const security = config.linux.securityContext;
    const name =
      security.runAsUser !== undefined
        ? String(security.runAsUser)
        : security.runAsUsername || image.config.config?.User || "";
    const text = security.runAsGroup !== undefined ? `${name.split(":")[0] || "0"}:${security.runAsGroup}` : name;
    const resolved = await resolveUser(rootfs, text);
    // An explicit group hides the image's memberships in Docker; Kubernetes merges them unless told otherwise.
    const merged =
      security.supplementalGroupsPolicy === "Strict"
        ? [resolved.gid]
        : (await resolveUser(rootfs, name)).additionalGids;
    return { ...resolved, additionalGids: [...new Set([resolved.gid, ...merged, ...security.supplementalGroups])] };
  }

  async #imageMounts(id: string, config: cri.ContainerConfig): Promise<OciMount[]> {
    const mounts: OciMount[] = [];
    for (const [index, mount] of config.mounts.entries()) {
      if (!mount.image) continue;
      const image = await this.#deps.images.resolve(mount.image.image);
      const target = path.join(this.#deps.core.layout.bundle(id), `image-${index}`);
      assert(image.chainId, "an image volume has layers");
      await this.#deps.snapshots.mountLayer(image.chainId, target);
      mounts.push({
        destination: mount.containerPath,
        type: "bind",
        source: path.join(target, path.resolve("/", mount.imageSubPath ?? "")),
        options: ["rbind", "rprivate", "ro"],
      });
    }
    return mounts;
  }

  #targetPid(config: cri.ContainerConfig): number {
    const target = this.#runtimeContainer(config.linux.securityContext.namespaceOptions.targetId ?? "");
    if (!target || target.state !== "running") throw failedPrecondition("the target container is not running");
    return target.pid;
  }

  async startContainer(containerId: string): Promise<void> {
    const record = this.#containerRecord(containerId);
    const container = this.#runtimeContainer(containerId);
    if (!container || record.state !== "CONTAINER_CREATED")
      throw failedPrecondition(`container ${containerId} is ${record.state}, not created`);
    await container.start();
    const current = this.#containerRecord(containerId);
    if (current.state === "CONTAINER_CREATED")
      await this.#containerRecords.put({ ...current, state: "CONTAINER_RUNNING", startedAt: this.#now() });
    this.#tell(record, "CONTAINER_STARTED_EVENT");
  }

  async stopContainer(containerId: string, timeoutSeconds: number): Promise<void> {
    const record = this.#containerRecords.get(containerId);
    const container = record && this.#runtimeContainer(containerId);
    if (!record || !container || container.state === "exited") return;
    if (container.state === "created") {
      await container.delete();
    } else {
      const exited = container.wait();
      if (timeoutSeconds > 0) {
        await ignoreGone(container.kill(signalNumber(record.stopSignal)));
        const patience = new AbortController();
        await Promise.race([
          exited,
          this.#deps.context.clock.sleep(timeoutSeconds * 1000, patience.signal).catch(() => {}),
        ]);
        patience.abort();
      }
      if ((container.state as string) !== "exited") await ignoreGone(container.kill(9));
      const patience = new AbortController();
      const late = this.#deps.context.clock.sleep(EXIT_PATIENCE_MS, patience.signal).catch(() => {});
      await Promise.race([exited, late]);
      patience.abort();
      // Its monitor was killed, so nobody tells of its end.
      if ((container.state as string) !== "exited") await container.delete();
    }
    await this.#settled(containerId);
  }

  /** A process that is gone, with a monitor that was killed before it could say so, has ended all the same. */
  #noticeLost({ id, state, podSandboxId }: ContainerRecord, container: RuntimeContainer): void {
    if (state !== "CONTAINER_RUNNING" || this.#lost.has(id)) return;
    if (this.#sandboxes.get(podSandboxId)?.isolation !== "process" || existsSync(`/proc/${container.pid}`)) return;
    this.#lost.add(id);
    void this.#deps.context.clock
      .sleep(EXIT_PATIENCE_MS)
      .then(() => this.stopContainer(id, 0))
      .catch((error: unknown) => this.#deps.context.log.warn("a lost container stays", { id, error }))
      .finally(() => this.#lost.delete(id));
  }

  /** Until the record says what the runtime knows. */
  async #settled(containerId: string): Promise<void> {
    const record = this.#containerRecords.get(containerId);
    const container = this.#runtimeContainer(containerId);
    if (!record || record.state === "CONTAINER_EXITED") return;
    if (container) await this.#recordExit(record, container);
    else {
      await this.#containerRecords.put({
        ...record,
        state: "CONTAINER_EXITED",
        exitCode: 137,
        reason: "Error",
        finishedAt: this.#now(),
      });
      this.#tell(record, "CONTAINER_STOPPED_EVENT");
    }
  }

  async removeContainer(containerId: string): Promise<void> {
    const record = this.#containerRecords.get(containerId);
    if (!record) return;
    await this.stopContainer(containerId, 0);
    await this.#runtimeContainer(containerId)?.delete();
    await this.#removeBundle(containerId);
    await this.#deps.snapshots.remove(this.#snapshotPrefix + containerId);
    await this.#containerRecords.delete(containerId);
    this.#stats.forget(containerId);
    this.#tell(record, "CONTAINER_DELETED_EVENT");
  }

  async listContainers(filter: cri.ContainerFilter = {}): Promise<cri.Container[]> {
    return this.#containerRecords
      .all()
      .map(toContainer)
      .filter(
        (container) =>
          (!filter.id || container.id.startsWith(filter.id)) &&
          (!filter.state || container.state === filter.state) &&
          (!filter.podSandboxId || container.podSandboxId === filter.podSandboxId) &&
          hasLabels(container.labels, filter.labelSelector),
      );
  }

  async containerStatus(containerId: string): Promise<cri.ContainerStatus> {
    const record = this.#containerRecord(containerId);
    const { startedAt, finishedAt, exitCode, reason, message, logPath, resources, user, stopSignal } = record;
    const container = this.#runtimeContainer(containerId);
    if (container) this.#noticeLost(record, container);
    return {
      ...toContainer(record),
      startedAt,
      finishedAt,
      exitCode,
      reason,
      message,
      logPath,
      resources,
      user,
      stopSignal,
      mounts: record.config.mounts,
      pid: record.state === "CONTAINER_RUNNING" ? (container?.pid ?? 0) : 0,
    };
  }

  async updateContainerResources(containerId: string, resources: cri.LinuxContainerResources): Promise<void> {
    const record = this.#containerRecord(containerId);
    await this.#running(containerId).update(ociResources(resources));
    await this.#containerRecords.put({ ...record, resources: { ...record.resources, ...resources } });
  }

  async updatePodSandboxResources(podSandboxId: string, resources: cri.LinuxContainerResources): Promise<void> {
    await this.#deps.core.cgroup(this.#cgroupOf(this.#sandboxRecord(podSandboxId).config)).limit(resources);
  }

  async reopenContainerLog(containerId: string): Promise<void> {
    await this.#running(containerId).reopenLog();
  }

  async execSync(containerId: string, command: string[], timeoutSeconds: number): Promise<cri.ExecSyncResult> {
    const container = this.#running(containerId);
    const exec = await container.exec({
      id: randomHex(this.#deps.context.random, 8),
      process: execProcess(container, command, false),
    });
    return collect(exec, timeoutSeconds, this.#deps.context.clock);
  }

  async exec(containerId: string, request: cri.ExecRequest): Promise<cri.ExecSession> {
    const container = this.#running(containerId);
    const exec = await container.exec({
      id: randomHex(this.#deps.context.random, 8),
      process: execProcess(container, request.command, request.tty),
      stdin: request.stdin,
    });
    const exit = exec.wait().then(({ code }) => code);
    return session(
      {
        stream: exec.stream,
        exit,
        resize: (size) => exec.resize(size),
        onClose: () => void exec.kill(9).catch(() => {}),
      },
      request,
    );
  }

  async attach(containerId: string, request: cri.AttachRequest): Promise<cri.ExecSession> {
    const container = this.#running(containerId);
    const stream = await container.attach();
    return session(
      {
        stream,
        exit: container.wait().then(({ code }) => code),
        resize: (size) => container.resize(size),
        onClose: () => {},
      },
      request,
    );
  }

  async portForward(podSandboxId: string, port: number): Promise<net.Socket> {
    const { netnsPath } = this.#sandboxRecord(podSandboxId);
    if (!Number.isInteger(port) || port < 1 || port > 65_535) throw invalidArgument(`${port} is no port`);
    let failure: unknown;
    for (const address of ["127.0.0.1", "::1"]) {
      try {
        return await this.#dial(netnsPath, address, port);
      } catch (error) {
        failure ??= error;
      }
    }
    throw unavailable(`failed to connect to localhost:${port} inside namespace ${podSandboxId}: ${messageOf(failure)}`);
  }

  /** A socket belongs for good to the namespace in which it was made. */
  #dial(netnsPath: string, address: string, port: number): Promise<net.Socket> {
    const open = () => new LinuxSockets().bind({ protocol: "tcp", address, port: 0 });
    const { fd } = netnsPath === "" ? open() : this.#netns.enter(netnsPath, open);
    const socket = new net.Socket({ fd });
    return new Promise((resolve, reject) => {
      socket.once("error", reject);
      socket.connect(port, address, () => {
        socket.removeListener("error", reject);
        resolve(socket);
      });
    });
  }

  async containerStats(containerId: string): Promise<cri.ContainerStats> {
    const record = this.#containerRecord(containerId);
    const usage = await this.#deps.snapshots
      .usage(this.#snapshotPrefix + containerId)
      .catch(() => ({ sizeBytes: 0, inodes: 0 }));
    return this.#stats.container(record, await this.#running(containerId).stats(), usage);
  }

  async listContainerStats(filter: cri.ContainerFilter = {}): Promise<cri.ContainerStats[]> {
    const running = await this.listContainers({ ...filter, state: "CONTAINER_RUNNING" });
    return settled(running.map((container) => this.containerStats(container.id)));
  }

  async podSandboxStats(podSandboxId: string): Promise<cri.PodSandboxStats> {
    const record = this.#sandboxRecord(podSandboxId);
    const running = this.#containersOf(podSandboxId).filter((container) => container.state === "CONTAINER_RUNNING");
    const containers = await settled(running.map((container) => this.containerStats(container.id)));
    const raw = await settled(running.slice(0, 1).map((container) => this.#running(container.id).stats()));
    return this.#stats.pod(record, containers, raw[0]);
  }

  async listPodSandboxStats(filter: cri.PodSandboxFilter = {}): Promise<cri.PodSandboxStats[]> {
    const ready = await this.listPodSandbox({ ...filter, state: "SANDBOX_READY" });
    return settled(ready.map((sandbox) => this.podSandboxStats(sandbox.id)));
  }

  async updateRuntimeConfig(config: { podCidr: string }): Promise<void> {
    await this.#deps.network.setPodCidr(config.podCidr);
  }

  containerEvents(signal: AbortSignal): AsyncIterable<cri.ContainerEvent> {
    const queue = new PushQueue<cri.ContainerEvent>();
    this.#listeners.add(queue);
    signal.addEventListener(
      "abort",
      () => {
        this.#listeners.delete(queue);
        queue.end();
      },
      { once: true },
    );
    return queue;
  }

  /** Removes everything of Pods from this machine: `berth reset`. */
  async destroyAll(): Promise<void> {
    for (const { id } of this.#sandboxRecords.all()) await this.removePodSandbox(id);
  }

  #watch(record: ContainerRecord, container: RuntimeContainer): void {
    void container.wait().then(
      () => this.#recordExit(record, container),
      () => {},
    );
  }

  async #recordExit({ id }: ContainerRecord, container: RuntimeContainer): Promise<void> {
    const exit = await container.wait();
    const record = this.#containerRecords.get(id);
    if (!record || record.state === "CONTAINER_EXITED") return;
    const reason = exit.oomKilled ? "OOMKilled" : exit.code === 0 ? "Completed" : "Error";
    await this.#containerRecords.put({
      ...record,
      state: "CONTAINER_EXITED",
      exitCode: exit.code,
      finishedAt: exit.atMs * 1e6,
      startedAt: record.startedAt || exit.atMs * 1e6,
      reason,
    });
    this.#tell(record, "CONTAINER_STOPPED_EVENT");
  }

  #tell(record: ContainerRecord, type: cri.ContainerEvent["type"]): void {
    for (const queue of this.#listeners)
      queue.push({ containerId: record.id, podSandboxId: record.podSandboxId, type, createdAt: this.#now() });
  }

  #isolation(handler: string): Isolation {
    const isolation =
      this.#deps.isolations.get(handler) ??
      (this.#deps.core.runtimeNames().includes(handler) ? this.#deps.isolations.get("") : undefined);
    if (!isolation)
      throw notFound(`no runtime for ${JSON.stringify(handler)} is configured`, {
        hint: `known handlers: ${[...this.#deps.isolations.keys()].filter(Boolean).join(", ") || "none"}`,
      });
    return isolation;
  }

  #runtimeName(handler: string): { runtime?: string } {
    return handler !== "" && !this.#deps.isolations.has(handler) ? { runtime: handler } : {};
  }

  #cgroupOf(config: cri.PodSandboxConfig): string {
    const { core, node } = this.#deps;
    return path.join(core.cgroupParent, node ? `node-${node.tag}` : "", path.resolve("/", config.linux.cgroupParent));
  }

  #folder(sandboxId: string): string {
    return path.join(this.#runFolder, sandboxId);
  }

  async #removeFolder(sandboxId: string): Promise<void> {
    for (const mount of mountsBelow(this.#folder(sandboxId))) unmount(mount, { lazy: true });
    await rm(this.#folder(sandboxId), { recursive: true, force: true });
  }

  async #removeBundle(containerId: string): Promise<void> {
    const bundle = this.#deps.core.layout.bundle(containerId);
    for (const mount of mountsBelow(bundle)) await this.#deps.snapshots.unmount(mount);
    await rm(bundle, { recursive: true, force: true });
  }

  #sandboxRecord(id: string): SandboxRecord {
    const record = this.#sandboxRecords.get(id);
    if (!record) throw notFound(`could not find sandbox ${JSON.stringify(id)}`);
    return record;
  }

  #containerRecord(id: string): ContainerRecord {
    const record = this.#containerRecords.get(id);
    if (!record) throw notFound(`could not find container ${JSON.stringify(id)}`);
    return record;
  }

  #containersOf(sandboxId: string): ContainerRecord[] {
    return this.#containerRecords.all().filter((record) => record.podSandboxId === sandboxId);
  }

  #runtimeContainer(id: string): RuntimeContainer | undefined {
    const record = this.#containerRecords.get(id);
    return record && this.#sandboxes.get(record.podSandboxId)?.container(id);
  }

  #running(id: string): RuntimeContainer {
    const container = this.#runtimeContainer(id);
    if (!container || this.#containerRecord(id).state !== "CONTAINER_RUNNING")
      throw failedPrecondition(`container ${id} is not running`);
    return container;
  }

  #newId(): string {
    return randomHex(this.#deps.context.random, ID_BYTES);
  }

  #now(): number {
    return this.#deps.context.clock.nowMs() * 1e6;
  }
}

function usesHostNetwork({ config }: SandboxRecord): boolean {
  return config.linux.securityContext.namespaceOptions.network === "NODE";
}

function execProcess(container: RuntimeContainer, command: string[], tty: boolean) {
  const { process } = container.request.spec;
  const env =
    tty && !process.env.some((pair) => pair.startsWith("TERM=")) ? [...process.env, "TERM=xterm"] : process.env;
  return { ...process, args: command, env, terminal: tty };
}

async function seccompOf(security: cri.LinuxContainerSecurityContext): Promise<OciSeccomp | undefined> {
  const { seccomp } = security;
  if (!seccomp || seccomp.type === "Unconfined") return undefined;
  if (seccomp.type === "RuntimeDefault")
    return defaultSeccompProfile(
      (security.capabilities?.addCapabilities ?? []).map((name) => (name.startsWith("CAP_") ? name : `CAP_${name}`)),
      process.arch,
    );
  const text = await readFile(seccomp.localhostRef!).catch((cause: unknown) => {
    throw failedPrecondition(
      `cannot load seccomp profile ${JSON.stringify(seccomp.localhostRef)}: ${messageOf(cause)}`,
      { cause },
    );
  });
  if (text.length > MAX_SMALL_FILE_BYTES) throw invalidArgument(`seccomp profile ${seccomp.localhostRef} is too large`);
  return JSON.parse(text.toString()) as OciSeccomp;
}

function resolvConf(dns: cri.DnsConfig): string {
  const lines = [
    ...(dns.searches.length > 0 ? [`search ${dns.searches.join(" ")}`] : []),
    ...dns.servers.map((server) => `nameserver ${server}`),
    ...(dns.options.length > 0 ? [`options ${dns.options.join(" ")}`] : []),
  ];
  return lines.join("\n") + "\n";
}

function toSandbox({ id, config, state, createdAt, runtimeHandler }: SandboxRecord): cri.PodSandbox {
  return {
    id,
    metadata: config.metadata,
    state,
    createdAt,
    labels: config.labels,
    annotations: config.annotations,
    runtimeHandler,
  };
}

function toContainer({
  id,
  podSandboxId,
  config,
  imageRef,
  imageId,
  state,
  createdAt,
}: ContainerRecord): cri.Container {
  return {
    id,
    podSandboxId,
    metadata: config.metadata,
    image: config.image,
    imageRef,
    imageId,
    state,
    createdAt,
    labels: config.labels,
    annotations: config.annotations,
  };
}

function hasLabels(
  labels: Readonly<Record<string, string>>,
  selector: Readonly<Record<string, string>> | undefined,
): boolean {
  return Object.entries(selector ?? {}).every(([key, value]) => labels[key] === value);
}

async function ignoreGone(action: Promise<void>): Promise<void> {
  try {
    await action;
  } catch (error) {
    if (!hasCode(error, "notFound")) throw error;
  }
}

/** What could be had; a container that ended meanwhile has no figures. */
async function settled<T>(tasks: Array<Promise<T>>): Promise<T[]> {
  return (await Promise.allSettled(tasks)).flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
}

function signalNumber(name: string): number {
  if (/^\d+$/.test(name)) return Number(name);
  const full = name.toUpperCase().startsWith("SIG") ? name.toUpperCase() : `SIG${name.toUpperCase()}`;
  const number = (osConstants.signals as Record<string, number>)[full];
  if (number !== undefined) return number;
  const realtime = /^SIGRTMIN(?:\+(\d+))?$/.exec(full);
  if (realtime) return 34 + Number(realtime[1] ?? 0);
  throw invalidArgument(`unknown signal ${name}`);
}
