import { chown, mkdir, readFile, rm, rmdir, symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { conflict, errnoOf, invalidArgument, Undo } from "../../../base/index.ts";
import { bindMount, mountTmpfs, unmount } from "../../../host/index.ts";
import type { Sandbox as NetworkSandbox } from "../../network/index.ts";
import type { Isolation, RuntimeContainer, Sandbox } from "../runtime/index.ts";
import { resolveInRoot } from "../paths.ts";
import { resolveUser } from "../spec/user.ts";
import { injectDevices, readCdiSpecs, requestedDevices } from "./cdi.ts";
import type { ContainerDeps } from "./deps.ts";
import { endpointSpec } from "./endpoints.ts";
import { requireInit } from "./init.ts";
import { portBindings } from "./ports.ts";
import { isRunning, type ContainerRecord } from "./record.ts";
import { deviceNumbers, hostDevices } from "../spec/devices.ts";
import { MountSources } from "./sources.ts";
import { dockerSpec, environment } from "./spec.ts";
import type { ContainerStore } from "./store.ts";
import { closeUserNamespace, mappingsOf, openUserNamespace, type RemappedUsers } from "./userns.ts";

/** `docker run --runtime vm`: the name that means an isolation and no OCI runtime. */
export const VM_RUNTIME = "vm";
/** Label of sandboxes that belong to a Docker container. */
export const OWNER_LABEL = "berth.owner";

/** Brings up what a container runs on (root filesystem, network, volumes, files, spec), and takes it down again. */
export class Launcher {
  readonly #deps: ContainerDeps;
  readonly #store: ContainerStore;
  readonly #sources: MountSources;

  constructor(deps: ContainerDeps, store: ContainerStore) {
    this.#deps = deps;
    this.#store = store;
    this.#sources = new MountSources(deps);
  }

  /** A runtime container, created and not yet started. Everything is undone when a step fails. */
  async up(record: ContainerRecord): Promise<{ container: RuntimeContainer; sandbox: Sandbox; warnings: string[] }> {
    const rootfs = this.rootfs(record);
    await using undo = new Undo();
    let sandbox = undefined as Sandbox | undefined;
    undo.defer(() => this.down(record, sandbox));
    const users = await openUserNamespace(this.#deps, record, this.#donor(record));
    const [network, sources] = await settled([
      this.#network(record, users !== undefined),
      this.#root(record, rootfs, users),
    ] as const);
    const user = await resolveUser(rootfs, record.config.User ?? "", record.hostConfig.GroupAdd ?? []);
    const files = await this.#files(record, network, users);
    const { spec, warnings } = dockerSpec(record, {
      rootfs,
      user,
      env: environment(record, user.home),
      namespaces: this.#namespaces(record, network),
      users,
      files,
      sources,
      initPath: record.hostConfig.Init ? requireInit(this.#deps.defaults.initPath) : undefined,
      cgroupVersion: this.#deps.core.cgroups.mode === "unified" ? 2 : 1,
      procStatus: await readFile("/proc/self/status", "utf8"),
      // Another kernel has devices of its own.
      hostDevices: record.hostConfig.Privileged && record.hostConfig.Runtime !== VM_RUNTIME ? hostDevices() : [],
    });
    const devices = requestedDevices(record.hostConfig.DeviceRequests ?? []);
    if (devices.length > 0) {
      const specs = await readCdiSpecs((message) => this.#deps.ctx.log.warn("a CDI spec is left out", { message }));
      injectDevices(spec, devices, specs, deviceNumbers);
    }
    sandbox = await this.#isolation(record).createSandbox({
      id: record.id,
      netnsPath: network?.netnsPath || undefined,
      labels: { [OWNER_LABEL]: "docker" },
    });
    const container = await sandbox.createContainer({
      id: record.id,
      spec,
      runtime: record.hostConfig.Runtime === VM_RUNTIME ? undefined : record.hostConfig.Runtime,
      stdin: record.config.OpenStdin,
      stdinOnce: record.config.StdinOnce,
      logPath: this.logPath(record),
    });
    await this.#deps.networks.settled(record.id);
    undo.commit();
    return { container, sandbox, warnings };
  }

  /** Gives back everything that `up` took. Idempotent, and safe for what a crash left half done. */
  async down(record: ContainerRecord, sandbox?: Sandbox): Promise<void> {
    const { networks, snapshots, core } = this.#deps;
    await sandbox?.destroy();
    if (!sandbox) await this.#strayContainer(record);
    await Promise.all([
      networks.destroySandbox(record.id),
      (async () => {
        await snapshots.unmount(this.#view(record));
        await snapshots.unmount(this.rootfs(record));
        if (record.hostConfig.IpcMode === "shareable") unmount(this.#shm(record), { lazy: true });
        await this.#sources.close(record);
        closeUserNamespace(this.#deps, record);
        await rm(core.layout.bundle(record.id), { recursive: true, force: true });
      })(),
    ]);
  }

  /** What an interrupted `up` left in the runtime core. */
  async #strayContainer(record: ContainerRecord): Promise<void> {
    const { core } = this.#deps;
    const group = core.cgroup(
      record.hostConfig.CgroupParent
        ? path.join("/", record.hostConfig.CgroupParent, record.id)
        : `${core.cgroupParent}/${record.id}`,
    );
    await group.killAll();
    await group.remove();
    await rm(core.layout.sandbox(record.id), { recursive: true, force: true });
  }

  /**
   * The root of a container that doesn't run, mounted, and a view of it in which its volumes and folders of the host are where the container has
   * them: what `docker cp` sees. Given back by `down`.
   */
  async view(record: ContainerRecord): Promise<string> {
    const rootfs = this.rootfs(record);
    await mkdir(this.#deps.core.layout.bundle(record.id), { recursive: true, mode: 0o711 });
    await this.#deps.snapshots.mount(record.id, rootfs);
    const view = this.#view(record);
    await mkdir(view, { recursive: true });
    bindMount(rootfs, view);
    await this.#sources.showIn(record, view);
    return view;
  }
  #view(record: ContainerRecord): string {
    return path.join(this.#deps.core.layout.bundle(record.id), "view");
  }

  rootfs(record: ContainerRecord): string {
    return this.#deps.core.layout.rootfs(record.id);
  }
  logPath(record: ContainerRecord): string | undefined {
    if (record.hostConfig.LogConfig?.Type === "none") return undefined;
    return path.join(this.#store.directory(record.id), "container.log");
  }

  #isolation(record: ContainerRecord): Isolation {
    const name = record.hostConfig.Runtime === VM_RUNTIME ? "vm" : "process";
    const found = this.#deps.isolations.get(name);
    if (!found) throw invalidArgument(`isolation "${name}" is not available here`);
    return found;
  }

  /** The root with its working directory, and where its mounts' content is. */
  async #root(record: ContainerRecord, rootfs: string, users: RemappedUsers | undefined): Promise<string[]> {
    const { core, snapshots } = this.#deps;
    const volatile = record.hostConfig.AutoRemove;
    await mkdir(core.layout.bundle(record.id), { recursive: true, mode: 0o711 });
    await snapshots.mount(record.id, rootfs, { volatile });
    const sources = await this.#sources.open(record, rootfs);
    if (record.config.WorkingDir)
      await mkdir(await resolveInRoot(rootfs, record.config.WorkingDir), { recursive: true });
    await markAsDocker(rootfs);
    if (!users) return sources;
    // What was made and copied until now belongs to its owners on disk; from here on the container's users are mapped.
    await snapshots.unmount(rootfs);
    await snapshots.mount(record.id, rootfs, { volatile, idmap: users });
    return this.#sources.mapOwners(record, sources, users.userns);
  }

  /** The container whose namespaces this one joins. */
  #donor(record: ContainerRecord): ContainerRecord | undefined {
    const { NetworkMode, PidMode, IpcMode } = record.hostConfig;
    const mode = [NetworkMode, PidMode, IpcMode].find((given) => given?.startsWith("container:"));
    const donor = mode === undefined ? undefined : this.#joined(mode, "user");
    return donor && mappingsOf(this.#deps, donor.hostConfig) ? donor : undefined;
  }

  async #network(record: ContainerRecord, pinned: boolean): Promise<NetworkSandbox | undefined> {
    const { networks } = this.#deps;
    const mode = record.hostConfig.NetworkMode ?? "bridge";
    if (mode.startsWith("container:")) return undefined;
    const host = record.hostConfig;
    await networks.createSandbox({
      id: record.id,
      name: record.name,
      hostname: record.config.Hostname ?? "",
      domainname: record.config.Domainname,
      dns: host.Dns ?? [],
      dnsSearch: host.DnsSearch ?? [],
      dnsOptions: host.DnsOptions ?? [],
      extraHosts: host.ExtraHosts ?? [],
      host: mode === "host",
      pinned,
    });
    for (const [network, settings] of Object.entries(record.endpoints)) {
      await networks.connect(record.id, network, endpointSpec(record, settings));
    }
    const bindings = portBindings(record.config, host);
    if (bindings.length > 0 && mode !== "host" && mode !== "none") await networks.publish(record.id, bindings);
    return networks.sandbox(record.id);
  }

  #namespaces(record: ContainerRecord, network: NetworkSandbox | undefined) {
    const { hostConfig: host } = record;
    const result: Partial<Record<"network" | "pid" | "ipc" | "uts", string>> = {};
    const mode = host.NetworkMode ?? "";
    if (mode === "host") result.network = "host";
    else if (mode.startsWith("container:")) result.network = `/proc/${this.#joined(mode, "network").state.pid}/ns/net`;
    else result.network = network!.netnsPath;
    if (host.PidMode === "host") result.pid = "host";
    else if (host.PidMode?.startsWith("container:"))
      result.pid = `/proc/${this.#joined(host.PidMode, "PID").state.pid}/ns/pid`;
    if (host.IpcMode === "host") result.ipc = "host";
    else if (host.IpcMode?.startsWith("container:"))
      result.ipc = `/proc/${this.#joined(host.IpcMode, "IPC").state.pid}/ns/ipc`;
    if (host.UTSMode === "host") result.uts = "host";
    return result;
  }

  #joined(mode: string, what: string): ContainerRecord {
    const record = this.#store.get(mode.slice("container:".length));
    if (!isRunning(record)) {
      throw conflict(
        `cannot join ${what} namespace of a non running container: container ${record.id} is ${record.state.status}`,
      );
    }
    return record;
  }

  /** The files that every container gets from us, by their place in it. */
  async #files(
    record: ContainerRecord,
    network: NetworkSandbox | undefined,
    users: RemappedUsers | undefined,
  ): Promise<Record<string, string>> {
    const mode = record.hostConfig.NetworkMode ?? "";
    const owner = mode.startsWith("container:") ? this.#joined(mode, "network") : record;
    const directory = this.#store.directory(owner.id);
    const files: Record<string, string> = {
      "/etc/hostname": path.join(directory, "hostname"),
      "/etc/hosts": path.join(directory, "hosts"),
      "/etc/resolv.conf": path.join(directory, "resolv.conf"),
    };
    const ipc = record.hostConfig.IpcMode ?? "";
    if (ipc.startsWith("container:")) {
      const donor = this.#joined(ipc, "IPC");
      if (donor.hostConfig.IpcMode !== "shareable")
        throw invalidArgument(
          "cannot join IPC of a container: non-shareable IPC (hint: use IpcMode:shareable for the donor container)",
        );
      files["/dev/shm"] = this.#shm(donor);
    } else if (ipc === "shareable") {
      files["/dev/shm"] = this.#shm(record);
      await mkdir(this.#shm(record), { recursive: true });
      mountTmpfs(this.#shm(record), { sizeBytes: record.hostConfig.ShmSize, mode: 0o1777 });
    }
    if (network) await this.writeNetworkFiles(record, network);
    if (network && users)
      for (const name of NETWORK_FILES) await chown(path.join(directory, name), users.uid, users.gid);
    return files;
  }

  /** /dev/shm of a container that shares it. */
  #shm(record: ContainerRecord): string {
    return path.join(this.#deps.core.layout.bundle(record.id), "dev-shm");
  }

  /** hosts and resolv.conf follow the networks; written in place, since they are bind mounts. */
  async writeNetworkFiles(record: ContainerRecord, network: NetworkSandbox): Promise<void> {
    const directory = this.#store.directory(record.id);
    await Promise.all([
      writeFile(path.join(directory, "hostname"), `${record.config.Hostname ?? ""}\n`),
      writeFile(path.join(directory, "hosts"), network.hostsFile),
      writeFile(path.join(directory, "resolv.conf"), network.resolvConf),
    ]);
  }

  /** Removes the bundle directory of a container that is gone. */
  async forget(record: ContainerRecord): Promise<void> {
    await rmdir(this.#deps.core.layout.bundle(record.id)).catch(() => {});
  }
}

const NETWORK_FILES = ["hostname", "hosts", "resolv.conf"];

/** What programs know a container of Docker by, and where older ones look for mounts. What the image has stays. */
async function markAsDocker(rootfs: string): Promise<void> {
  const etc = await resolveInRoot(rootfs, "/etc");
  await mkdir(etc, { recursive: true });
  await Promise.all([
    writeFile(path.join(rootfs, ".dockerenv"), "", { flag: "wx", mode: 0o755 }).catch(ignoreTaken),
    symlink("/proc/mounts", path.join(etc, "mtab")).catch(ignoreTaken),
  ]);
}

function ignoreTaken(error: unknown): void {
  if (errnoOf(error) !== "EEXIST") throw error;
}

/** Promise.all that leaves nothing running behind: waits for all, then throws the first error. */
async function settled<T extends readonly unknown[]>(promises: { [K in keyof T]: Promise<T[K]> }): Promise<T> {
  const results = await Promise.allSettled(promises);
  const failed = results.find((result) => result.status === "rejected");
  if (failed) throw failed.reason;
  return results.map((result) => (result as PromiseFulfilledResult<unknown>).value) as unknown as T;
}
