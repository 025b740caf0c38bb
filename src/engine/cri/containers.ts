import { readFileSync } from "node:fs";
import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import type { cri, OciMount, OciSeccomp } from "../../api/index.ts";
import {
  assert,
  failedPrecondition,
  hasCode,
  invalidArgument,
  MAX_SMALL_FILE_BYTES,
  messageOf,
  Undo,
} from "../../base/index.ts";
import { defaultSeccompProfile, mountIdmapped } from "../../host/index.ts";
import { boundingSet, mappedRoot, resolveUser } from "../container/index.ts";
import type { Image } from "../image/index.ts";
import { addDevices } from "./devices.ts";
import type { ContainerRecord } from "./records.ts";
import { containerSpec, ociResources } from "./spec.ts";
import type { Endings } from "./endings.ts";
import { hasLabels, type CriState, type PodUsers } from "./state.ts";

const DEFAULT_STOP_SIGNAL = "SIGTERM";

/** Pods' containers: a writable snapshot of an image, an OCI specification, and a record of how they are. */
export class Containers {
  readonly #state: CriState;
  readonly #endings: Endings;
  readonly #capabilities = boundingSet(readFileSync("/proc/self/status", "utf8"));

  constructor(state: CriState, endings: Endings) {
    this.#state = state;
    this.#endings = endings;
  }

  async create(
    podSandboxId: string,
    config: cri.ContainerConfig,
    sandboxConfig: cri.PodSandboxConfig,
    signal?: AbortSignal,
  ): Promise<string> {
    const record = this.#state.sandboxRecord(podSandboxId);
    const sandbox = this.#state.sandboxes.get(podSandboxId);
    if (!sandbox || record.state !== "SANDBOX_READY")
      throw failedPrecondition(`sandbox ${podSandboxId} is not running`);
    const { images, snapshots, core } = this.#state.deps;
    const image = await images.resolve(config.image.image);
    const id = this.#state.newId();
    const users = this.#state.users(record);
    // Who asks over the CRI socket may want no log.
    const logPath = config.logPath === "" ? "" : path.join(record.config.logDirectory, config.logPath);
    if (logPath !== "") await mkdir(path.dirname(logPath), { recursive: true, mode: 0o755 });
    await using undo = new Undo();
    await snapshots.prepare(this.#state.snapshotPrefix + id, image.chainId);
    undo.defer(() => snapshots.remove(this.#state.snapshotPrefix + id));
    const rootfs = core.layout.rootfs(id);
    await snapshots.mount(this.#state.snapshotPrefix + id, rootfs, idmapOf(users));
    undo.defer(() => this.#state.removeBundle(id));
    // Where owners are mapped, root has no name to make it by; the OCI runtime does.
    if (config.workingDir && !users)
      await mkdir(path.join(rootfs, path.resolve("/", config.workingDir)), { recursive: true });

    const user = await this.#user(config, image, rootfs);
    const imageMounts = await this.#imageMounts(id, config);
    const spec = containerSpec({
      config: users ? { ...config, mounts: await this.#mapOwners(id, config.mounts, users.pin) } : config,
      image,
      rootfs,
      user,
      namespaces: sandbox.namespaces,
      ...(config.linux.securityContext.namespaceOptions.pid === "TARGET" ? { targetPid: this.#targetPid(config) } : {}),
      hostname: sandboxConfig.hostname,
      ...(users && { users }),
      resolvConf: record.config.dnsConfig && path.join(this.#state.folder(podSandboxId), "resolv.conf"),
      shm:
        record.config.linux.securityContext.namespaceOptions.ipc === "POD"
          ? path.join(this.#state.folder(podSandboxId), "shm")
          : undefined,
      cgroupsPath: path.join(this.#state.cgroupOf(record.config), id),
      seccomp: await seccompOf(config.linux.securityContext),
      imageMounts,
      oomScoreAdjFloor: 0,
      available: this.#capabilities,
    });
    await addDevices(spec, config, sandbox.isolation, (message) =>
      this.#state.deps.context.log.warn("a CDI spec is left out", { message }),
    );
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
      createdAt: this.#state.now(),
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
    await this.#state.containerRecords.put(fresh);
    undo.commit();
    this.#endings.watch(fresh, container);
    this.#state.tell(fresh, "CONTAINER_CREATED_EVENT");
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
      const image = await this.#state.deps.images.resolve(mount.image.image);
      const target = path.join(this.#state.deps.core.layout.bundle(id), `image-${index}`);
      assert(image.chainId, "an image volume has layers");
      await this.#state.deps.snapshots.mountLayer(image.chainId, target);
      mounts.push({
        destination: mount.containerPath,
        type: "bind",
        source: path.join(target, path.resolve("/", mount.imageSubPath ?? "")),
        options: ["rbind", "rprivate", "ro"],
      });
    }
    return mounts;
  }

  /** The same places with their owners mapped; on a file system that can't, files belong to nobody in there. */
  async #mapOwners(id: string, mounts: readonly cri.Mount[], userns: string): Promise<cri.Mount[]> {
    const mapped: cri.Mount[] = [];
    for (const [index, mount] of mounts.entries()) {
      const target = path.join(this.#state.deps.core.layout.bundle(id), `mapped-${index}`);
      mapped.push(mount.image ? mount : { ...mount, hostPath: await this.#mapOne(mount.hostPath, target, userns) });
    }
    return mapped;
  }

  async #mapOne(source: string, target: string, userns: string): Promise<string> {
    if ((await stat(source)).isDirectory()) await mkdir(target, { recursive: true });
    else await writeFile(target, "");
    try {
      mountIdmapped(source, target, userns);
      return target;
    } catch (error) {
      if (!hasCode(error, "invalidArgument", "permissionDenied", "notImplemented")) throw error;
      this.#state.deps.context.log.warn("owners of a mount could not be mapped", { source, error });
      return source;
    }
  }

  #targetPid(config: cri.ContainerConfig): number {
    const target = this.#state.runtimeContainer(config.linux.securityContext.namespaceOptions.targetId ?? "");
    if (!target || target.state !== "running") throw failedPrecondition("the target container is not running");
    return target.pid;
  }

  async start(containerId: string): Promise<void> {
    const record = this.#state.containerRecord(containerId);
    const container = this.#state.runtimeContainer(containerId);
    if (!container || record.state !== "CONTAINER_CREATED")
      throw failedPrecondition(`container ${containerId} is ${record.state}, not created`);
    await container.start();
    const current = this.#state.containerRecord(containerId);
    if (current.state === "CONTAINER_CREATED")
      await this.#state.containerRecords.put({ ...current, state: "CONTAINER_RUNNING", startedAt: this.#state.now() });
    this.#state.tell(record, "CONTAINER_STARTED_EVENT");
  }

  stop(containerId: string, timeoutSeconds: number): Promise<void> {
    return this.#endings.stop(containerId, timeoutSeconds);
  }

  async remove(containerId: string): Promise<void> {
    const record = this.#state.containerRecords.get(containerId);
    if (!record) return;
    await this.stop(containerId, 0);
    await this.#state.runtimeContainer(containerId)?.delete();
    await this.#state.removeBundle(containerId);
    await this.#state.deps.snapshots.remove(this.#state.snapshotPrefix + containerId);
    await this.#state.containerRecords.delete(containerId);
    this.#state.stats.forget(containerId);
    this.#state.tell(record, "CONTAINER_DELETED_EVENT");
  }

  async list(filter: cri.ContainerFilter = {}): Promise<cri.Container[]> {
    return this.#state.containerRecords
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

  async status(containerId: string): Promise<cri.ContainerStatus> {
    const record = this.#state.containerRecord(containerId);
    const { startedAt, finishedAt, exitCode, reason, message, logPath, resources, user, stopSignal } = record;
    const container = this.#state.runtimeContainer(containerId);
    if (container) this.#endings.noticeLost(record, container);
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

  async updateResources(containerId: string, resources: cri.LinuxContainerResources): Promise<void> {
    const record = this.#state.containerRecord(containerId);
    await this.#state.running(containerId).update(ociResources(resources));
    await this.#state.containerRecords.put({ ...record, resources: { ...record.resources, ...resources } });
  }

  #runtimeName(handler: string): { runtime?: string } {
    return handler !== "" && !this.#state.deps.isolations.has(handler) ? { runtime: handler } : {};
  }
}

function idmapOf(users: PodUsers | undefined) {
  return users && { idmap: { userns: users.pin, ...mappedRoot(users) } };
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
