import { mkdir, readdir, readFile, rmdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { errnoOf, failedPrecondition, systemClock } from "../../base/index.ts";
import { signalProcess } from "../process/index.ts";
import { hierarchyRoots, type CgroupLayout } from "./layout.ts";
import { limitFiles, type CgroupLimits } from "./limits.ts";

/** One control group, by its path below the root of each hierarchy, whatever the version. */
export class Cgroup {
  readonly path: string;
  readonly #layout: CgroupLayout;

  constructor(layout: CgroupLayout, cgroupPath: string) {
    this.#layout = layout;
    this.path = cgroupPath;
  }

  /** The directory of a v1 controller, or of the v2 group. Undefined when the host has no such controller. */
  directory(controller: string): string | undefined {
    const root = this.#layout.mode === "unified" ? this.#layout.unified : this.#layout.controllers.get(controller);
    return root === undefined ? undefined : path.join(root, this.path);
  }

  /** Pids of all processes in the group and below. */
  async processes(): Promise<number[]> {
    const directory = this.directory("pids") ?? this.directory("memory");
    if (directory === undefined) return [];
    const pids: number[] = [];
    for (const group of await subtree(directory)) {
      const text = await readFile(path.join(group, "cgroup.procs"), "utf8").catch(() => "");
      for (const line of text.split("\n")) if (line !== "") pids.push(Number(line));
    }
    return pids;
  }

  /** Makes the group where it is not there yet and sets its limits. What is absent or 0 is left as it is; -1 lifts a limit. */
  async limit(limits: CgroupLimits): Promise<void> {
    const files = limitFiles(limits, this.#layout.mode === "unified");
    if (this.#layout.mode === "unified") await this.#enable(new Set(files.map(({ controller }) => controller)));
    await Promise.all(
      files.map(async ({ controller, file, value }) => {
        const directory = this.directory(controller);
        if (directory === undefined) return;
        await mkdir(directory, { recursive: true });
        await writeFile(path.join(directory, file), value);
      }),
    );
  }

  /** A v2 group has the files of a controller only when every group above it hands the controller down (cgroups(7)). */
  async #enable(controllers: ReadonlySet<string>): Promise<void> {
    let directory = this.#layout.unified!;
    for (const name of this.path.split("/").filter(Boolean)) {
      const available = await readFile(path.join(directory, "cgroup.controllers"), "utf8").catch(() => "");
      const handed = available.trim().split(/\s+/);
      for (const controller of controllers) {
        if (!handed.includes(controller)) continue;
        await writeFile(path.join(directory, "cgroup.subtree_control"), `+${controller}`);
      }
      directory = path.join(directory, name);
      await mkdir(directory, { recursive: true });
    }
  }

  async freeze(): Promise<void> {
    await this.#setFrozen(true);
  }
  async thaw(): Promise<void> {
    await this.#setFrozen(false);
  }

  async frozen(): Promise<boolean> {
    const directory = this.directory("freezer");
    if (directory === undefined) return false;
    const file = this.#layout.mode === "unified" ? "cgroup.freeze" : "freezer.state";
    return ["1", "FROZEN", "FREEZING"].includes((await readFile(path.join(directory, file), "utf8")).trim());
  }

  async #setFrozen(frozen: boolean): Promise<void> {
    const directory = this.directory("freezer");
    if (directory === undefined)
      throw failedPrecondition("this host has no freezer control group, so nothing can be paused");
    if (this.#layout.mode === "unified") {
      await writeFile(path.join(directory, "cgroup.freeze"), frozen ? "1" : "0");
      return;
    }
    const file = path.join(directory, "freezer.state");
    const wanted = frozen ? "FROZEN" : "THAWED";
    for (let attempt = 0; attempt < FREEZE_ATTEMPTS; attempt++) {
      await writeFile(file, wanted);
      if ((await readFile(file, "utf8")).trim() === wanted) return;
      await systemClock.sleep(1);
    }
    throw failedPrecondition("the kernel did not freeze the container in time");
  }

  /** Kills everything in the group, and waits until it is empty. */
  async killAll(): Promise<void> {
    const directory = this.directory("pids");
    if (this.#layout.mode === "unified" && directory !== undefined) {
      await writeFile(path.join(directory, "cgroup.kill"), "1").catch(() => {});
    }
    for (let attempt = 0; attempt < KILL_ATTEMPTS; attempt++) {
      const pids = await this.processes();
      if (pids.length === 0) return;
      for (const pid of pids) signalProcess(pid, 9);
      if (attempt === 0) await this.thaw().catch(() => {});
      await systemClock.sleep(Math.min(1 + attempt, 20));
    }
  }

  /** Removes the group from every hierarchy. Idempotent; processes in it must be gone. */
  async remove(): Promise<void> {
    await Promise.all(hierarchyRoots(this.#layout).map((root) => removeTree(path.join(root, this.path))));
  }
}

const FREEZE_ATTEMPTS = 200;
const KILL_ATTEMPTS = 200;
const REMOVE_ATTEMPTS = 50;

/** The directory and all below it, deepest first. */
async function subtree(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { withFileTypes: true }).catch(() => []);
  const below: string[] = [];
  for (const entry of entries)
    if (entry.isDirectory()) below.push(...(await subtree(path.join(directory, entry.name))));
  return [...below, directory];
}

async function removeTree(root: string): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      await rmdir(root);
      return;
    } catch (error) {
      const errno = errnoOf(error);
      if (errno === "ENOENT" || attempt >= REMOVE_ATTEMPTS) return;
      if (attempt === 0) for (const group of (await subtree(root)).slice(0, -1)) await rmdir(group).catch(() => {});
      else await systemClock.sleep(2);
    }
  }
}

/** The children of a group in any hierarchy: what carries our name and may have lost its owner. */
export async function childGroups(layout: CgroupLayout, parent: string): Promise<string[]> {
  const names = new Set<string>();
  for (const root of hierarchyRoots(layout)) {
    const entries = await readdir(path.join(root, parent), { withFileTypes: true }).catch(() => []);
    for (const entry of entries) if (entry.isDirectory()) names.add(entry.name);
  }
  return [...names];
}
