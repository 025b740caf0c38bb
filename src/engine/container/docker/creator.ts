import { hostname } from "node:os";
import { failedPrecondition, invalidArgument } from "../../../base/index.ts";
import type { DockerContainerConfig, DockerCreateBody, DockerHostConfig } from "../../../api/index.ts";
import { foreignPlatformWarning } from "../../image/index.ts";
import { checkHostConfig } from "./checks.ts";
import { completeHostConfig, mergeConfig, newContainerId } from "./create.ts";
import type { ContainerDeps } from "./deps.ts";
import { plannedEndpoints } from "./endpoints.ts";
import { planMounts } from "./mounts.ts";
import { randomName } from "./names.ts";
import { discardUnsupported } from "./resources.ts";
import { VM_RUNTIME } from "./launcher.ts";
import { portBindings } from "./ports.ts";
import type { ContainerRecord, MountRecord } from "./record.ts";
import type { ContainerStore } from "./store.ts";
import { checkRemapped, mappingsOf } from "./userns.ts";

/** On the snapshots of Docker's containers, so that those of creations that a crash cut short are known. */
export const OWNED = { "berth.owner": "docker" };

export interface CreateOptions {
  readonly name?: string;
  readonly platform?: { os: string; architecture: string; variant?: string };
}

/** `docker create`: everything that is decided, named and put on disk before a container first starts. */
export class Creator {
  readonly deps: ContainerDeps;
  readonly store: ContainerStore;

  constructor(deps: ContainerDeps, store: ContainerStore) {
    this.deps = deps;
    this.store = store;
  }

  async create(
    body: DockerCreateBody,
    options: CreateOptions = {},
  ): Promise<{ record: ContainerRecord; warnings: string[] }> {
    const { ctx, core, images, snapshots, volumes } = this.deps;
    const cgroupVersion = core.cgroups.mode === "unified" ? 2 : 1;
    if (!body.Image) throw failedPrecondition("no image was named");
    const image = await images.resolve(body.Image, options.platform ? { platform: options.platform } : undefined);
    const foreign = options.platform ? undefined : foreignPlatformWarning(image.platform);
    const hostConfig = completeHostConfig(body, core.defaultRuntime, cgroupVersion, this.deps.defaults);
    const { HostConfig: _host, NetworkingConfig: _networking, ...own } = body;
    const merged = mergeConfig(own, image.config.config ?? {});
    checkHostConfig(merged, hostConfig, [
      ...core.runtimeNames(),
      ...(this.deps.isolations.has("vm") ? [VM_RUNTIME] : []),
    ]);
    const discarded = discardUnsupported(hostConfig);
    if (mappingsOf(this.deps, hostConfig)) checkRemapped(hostConfig);
    portBindings(merged, hostConfig);
    const id = newContainerId(ctx.random);
    const config = this.#completeConfig(merged, hostConfig, id);
    const args = [...listOf(config.Entrypoint), ...listOf(config.Cmd)];
    if (args.length === 0) throw invalidArgument("no command specified");
    const mode = hostConfig.NetworkMode ?? "bridge";
    // Who isn't there, and a network that isn't, may come until the start: it is refused then, as by dockerd.
    const donor = mode.startsWith("container:") ? this.store.find(mode.slice("container:".length)) : undefined;
    if (donor) hostConfig.NetworkMode = `container:${donor.id}`;
    const endpoints = plannedEndpoints(body, mode);
    for (const given of [hostConfig.PidMode, hostConfig.IpcMode])
      if (given?.startsWith("container:")) this.#named(given.slice("container:".length));
    for (const link of hostConfig.Links ?? []) this.#named(link.split(":")[0]!, "could not get container for ");
    const name = this.#takeName(options.name, id);
    let mounts: MountRecord[] = [];
    try {
      mounts = await this.#makeVolumes(planMounts(config, hostConfig, this.#volumesFrom(hostConfig)), id, hostConfig);
      await snapshots.prepare(id, image.chainId, { labels: OWNED });
      const record: ContainerRecord = {
        id,
        name,
        createdMs: ctx.clock.nowMs(),
        config,
        hostConfig,
        endpoints,
        imageId: image.id,
        args,
        mounts,
        state: { status: "created", pid: 0, exitCode: 0, oomKilled: false, error: "", startedMs: 0, finishedMs: 0 },
        restartCount: 0,
        stoppedByUser: false,
      };
      await this.store.add(record);
      return { record, warnings: [...discarded, ...this.#createWarnings(hostConfig, foreign)] };
    } catch (error) {
      this.store.releaseName(name);
      await snapshots.remove(id).catch(() => {});
      for (const mount of mounts) if (mount.Type === "volume") volumes.release(mount.Name!, id);
      throw error;
    }
  }

  #createWarnings(host: DockerHostConfig, foreign: string | undefined): string[] {
    const warnings = foreign === undefined ? [] : [foreign];
    if (host.OomKillDisable && !host.Memory)
      warnings.push(
        "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.",
      );
    return warnings;
  }

  #completeConfig(config: DockerContainerConfig, host: DockerHostConfig, id: string): DockerContainerConfig {
    const mode = host.NetworkMode ?? "";
    const joined = mode.startsWith("container:")
      ? this.store.find(mode.slice("container:".length))?.config.Hostname
      : undefined;
    const fallback = mode === "host" ? hostname() : id.slice(0, 12);
    const exposed = { ...config.ExposedPorts };
    for (const port of Object.keys(host.PortBindings ?? {})) exposed[port.includes("/") ? port : `${port}/tcp`] ??= {};
    return { ...config, Hostname: joined ?? (config.Hostname || fallback), ExposedPorts: exposed };
  }

  #takeName(wanted: string | undefined, id: string): string {
    if (wanted) {
      const name = wanted.replace(/^\//, "");
      this.store.reserveName(name, id);
      return name;
    }
    for (let attempt = 0; ; attempt++) {
      const name = randomName(this.deps.ctx.random, attempt);
      if (this.store.nameTaken(name)) continue;
      this.store.reserveName(name, id);
      return name;
    }
  }

  #volumesFrom(host: DockerHostConfig): MountRecord[] {
    return (host.VolumesFrom ?? []).flatMap((entry) => {
      const [ref = "", mode = ""] = entry.split(":");
      return this.#named(ref).mounts.map((mount) => ({
        ...mount,
        RW: mode === "ro" ? false : mount.RW,
        anonymous: false,
      }));
    });
  }

  /** A container that the request names. As dockerd, not with notFound: clients take that for an image that they have to pull. */
  #named(ref: string, what = ""): ContainerRecord {
    const record = this.store.find(ref);
    if (!record) throw invalidArgument(`${what && `${what}${ref}: `}No such container: ${ref}`);
    return record;
  }

  /** Which image a mount means, decided once: a tag that moves later changes nothing. */
  async #withImage(mount: MountRecord): Promise<MountRecord> {
    const { id, chainId } = await this.deps.images.resolve(mount.Source);
    return { ...mount, imageId: id, chainId };
  }

  async #makeVolumes(planned: MountRecord[], holder: string, host: DockerHostConfig): Promise<MountRecord[]> {
    const { volumes } = this.deps;
    const held: string[] = [];
    try {
      const result: MountRecord[] = [];
      for (const mount of planned) {
        if (mount.Type !== "volume") {
          result.push(mount.Type === "image" ? await this.#withImage(mount) : mount);
          continue;
        }
        const source = host.Mounts?.find(
          (given) => given.Type === "volume" && given.Target === mount.Destination,
        )?.VolumeOptions;
        const volume = await volumes.create({
          name: mount.Name || undefined,
          driver: source?.DriverConfig?.Name || host.VolumeDriver || undefined,
          options: source?.DriverConfig?.Options ?? undefined,
          labels: source?.Labels ?? undefined,
          holder,
        });
        volumes.hold(volume.name, holder);
        held.push(volume.name);
        result.push({ ...mount, Name: volume.name, Source: volume.mountpoint });
      }
      return result;
    } catch (error) {
      for (const name of held) volumes.release(name, holder);
      throw error;
    }
  }
}

function listOf(value: string[] | string | null | undefined): string[] {
  return typeof value === "string" ? [value] : (value ?? []);
}
