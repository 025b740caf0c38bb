import { existsSync } from "node:fs";
import { mkdir, readdir, rm } from "node:fs/promises";
import { codeOf, invalidArgument, kernelName, notFound, type InstanceContext } from "../../../base/index.ts";
import {
  Cgroup,
  cgroupLayout,
  childGroups,
  RuntimeMountNamespace,
  SeccompCache,
  type CgroupLayout,
} from "../../../host/index.ts";
import path from "node:path";
import { ExitWatcher } from "./exits.ts";
import { RuntimeLayout } from "./layout.ts";
import { MonitorWatch } from "./monitors.ts";

export interface CoreOptions {
  /** Runtime name → binary. `crun` and `runc` are known by themselves. */
  readonly runtimes?: Readonly<Record<string, string>>;
  readonly defaultRuntime?: string;
  readonly conmon?: string;
}

/** What all containers of an instance share: directories, the exit watch, the mount namespace of runtimes, control groups. */
export class Core {
  readonly ctx: InstanceContext;
  readonly layout: RuntimeLayout;
  readonly exits: ExitWatcher;
  readonly monitors: MonitorWatch;
  readonly cgroups: CgroupLayout;
  readonly seccomp: SeccompCache;
  readonly conmon: string;
  readonly cgroupParent: string;
  #options: CoreOptions;
  readonly #namespace: RuntimeMountNamespace;
  #prefix: Promise<string[]> | undefined;

  constructor(ctx: InstanceContext, options: CoreOptions = {}) {
    this.ctx = ctx;
    this.#options = options;
    this.layout = new RuntimeLayout(ctx.runtimeDir);
    this.exits = new ExitWatcher(this.layout.exits);
    this.monitors = new MonitorWatch(ctx.clock);
    this.cgroups = cgroupLayout();
    this.seccomp = new SeccompCache(path.join(ctx.dataDir, "seccomp"));
    this.conmon = options.conmon ?? "/usr/bin/conmon";
    this.cgroupParent = `/${kernelName(ctx.instance)}`;
    this.#namespace = new RuntimeMountNamespace(ctx.runtimeDir, this.cgroups);
  }

  /** For containers that start from now on. */
  reconfigure(options: Pick<CoreOptions, "runtimes" | "defaultRuntime">): void {
    this.#options = { ...this.#options, ...options };
  }

  async open(): Promise<void> {
    await Promise.all(
      [this.layout.bundles, this.layout.sandboxes].map((directory) =>
        mkdir(directory, { recursive: true, mode: 0o711 }),
      ),
    );
    await this.exits.open();
    // Before anything is mounted below the runtime directory, since it becomes a mount itself.
    await this.prefix();
  }
  close(): void {
    this.exits.close();
    this.monitors.close();
  }

  /** What precedes a runtime's command line on this host. */
  prefix(): Promise<string[]> {
    this.#prefix ??= this.#namespace.prepare().catch((error: unknown) => {
      this.ctx.log.warn("runtimes are started without a mount namespace of their own", { error });
      return [];
    });
    return this.#prefix;
  }

  get defaultRuntime(): string {
    return this.#options.defaultRuntime ?? "crun";
  }
  runtimeNames(): string[] {
    const known = Object.keys(DEFAULT_RUNTIMES).filter((name) =>
      DEFAULT_RUNTIMES[name]!.some((file) => existsSync(file)),
    );
    return [...new Set([...known, ...Object.keys(this.#options.runtimes ?? {})])];
  }
  /** The binary of a runtime. Throws invalidArgument for a name nobody configured, notFound for one not installed. */
  runtimeBinary(name = this.defaultRuntime): string {
    const configured = this.#options.runtimes?.[name];
    const candidates = configured !== undefined ? [configured] : DEFAULT_RUNTIMES[name];
    if (!candidates) throw invalidArgument(`unknown or invalid runtime name: ${name}`);
    const found = candidates.find((file) => existsSync(file));
    if (found === undefined)
      throw notFound(`runtime ${name} is not installed`, { hint: `install the package ${name}` });
    return found;
  }

  cgroup(cgroupPath: string): Cgroup {
    return new Cgroup(this.cgroups, cgroupPath);
  }

  /** Removes control groups and exit codes of containers that nobody has a record of. `known`: id → path of the control group. */
  async reclaim(known: ReadonlyMap<string, string>): Promise<void> {
    await this.#reclaimGroups(this.cgroupParent, [...known.values()]);
    for (const name of await readdir(this.layout.exits).catch(() => [])) {
      if (!known.has(name)) await this.exits.forget(name);
    }
  }

  /** A group that holds known containers further down (a Pod's, a class of Pods') is looked into, never killed as a whole. */
  async #reclaimGroups(parent: string, known: readonly string[]): Promise<void> {
    for (const name of await childGroups(this.cgroups, parent)) {
      const groupPath = `${parent}/${name}`;
      if (known.includes(groupPath)) continue;
      if (known.some((owned) => owned.startsWith(`${groupPath}/`))) {
        await this.#reclaimGroups(groupPath, known);
        continue;
      }
      const group = this.cgroup(groupPath);
      await group.killAll();
      // A Pod's group may be empty and have its limits set already.
      if (!`${groupPath}/`.startsWith(`${this.cgroupParent}/${POD_GROUP}/`)) await group.remove();
    }
  }

  /** Undoes everything in the kernel and on disk; no container may be left. */
  async destroy(): Promise<void> {
    await this.reclaim(new Map());
    await this.cgroup(this.cgroupParent).remove();
    await this.#namespace.destroy();
    this.#prefix = undefined;
    await rm(this.layout.exits, { recursive: true, force: true }).catch((error: unknown) => {
      this.ctx.log.debug("exit directory stays", { code: codeOf(error) });
    });
  }
}

/** Below it are the groups of Pods, each of which the CRI removes with its sandbox. */
const POD_GROUP = "kubepods";

const DEFAULT_RUNTIMES: Readonly<Record<string, readonly string[]>> = {
  crun: ["/usr/bin/crun", "/usr/local/bin/crun"],
  runc: ["/usr/sbin/runc", "/usr/bin/runc", "/usr/local/bin/runc", "/usr/local/sbin/runc"],
};
