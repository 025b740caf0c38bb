import { mkdirSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { internal } from "../../base/index.ts";
import type { CgroupLayout } from "../cgroup/index.ts";
import { bindMount, makePrivate, mount, MS, unmount } from "../mount/index.ts";
import { run } from "../process/index.ts";

/**
 * crun before 1.9 refuses a hybrid host ("drop all controllers from cgroupv2") where a controller is left in the v2 tree. It works where that tree is
 * not mounted, so on such hosts runtimes are started in one long-lived mount namespace without it, kept alive by a bind mount. The runtime
 * directory becomes a shared mount first, so that what is mounted below it later appears in both.
 */
export class RuntimeMountNamespace {
  readonly #runtimeDir: string;
  readonly #layout: CgroupLayout;

  constructor(runtimeDir: string, layout: CgroupLayout) {
    this.#runtimeDir = runtimeDir;
    this.#layout = layout;
  }

  get needed(): boolean {
    return this.#layout.mode === "hybrid";
  }
  get #directory(): string {
    return path.join(this.#runtimeDir, "ns");
  }
  get #file(): string {
    return path.join(this.#directory, "mnt");
  }

  /** What to put before a runtime's command line. Makes the namespace when there is none; idempotent. */
  async prepare(): Promise<string[]> {
    if (!this.needed) return [];
    const mounted = await mountTargets();
    if (!mounted.has(this.#file)) {
      if (!mounted.has(this.#runtimeDir)) {
        bindMount(this.#runtimeDir, this.#runtimeDir, { recursive: true });
        mount("none", this.#runtimeDir, null, MS.SHARED | MS.REC);
      }
      mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
      // A namespace's file may not stand on a mount that propagates into that very namespace.
      if (!mounted.has(this.#directory)) bindMount(this.#directory, this.#directory);
      makePrivate(this.#directory);
      writeFileSync(this.#file, "");
      await this.#unshare();
    }
    return ["/usr/bin/nsenter", `--mount=${this.#file}`, "--"];
  }

  async #unshare(): Promise<void> {
    const script = `mount --make-rprivate /sys && umount "$1"`;
    const argv = ["/usr/bin/unshare", `--mount=${this.#file}`, "--propagation", "unchanged"];
    const { code, stderr } = await run([...argv, "/bin/sh", "-c", script, "sh", this.#layout.unified!]);
    if (code !== 0) throw internal(`cannot make the runtime's mount namespace: ${stderr.trim()}`);
  }

  /** Undoes `prepare`. */
  async destroy(): Promise<void> {
    if (!this.needed) return;
    for (const target of [this.#file, this.#directory]) while (unmount(target, { lazy: true }));
    while (unmount(this.#runtimeDir, { lazy: true }));
  }
}

async function mountTargets(): Promise<Set<string>> {
  const mountinfo = await readFile("/proc/self/mountinfo", "utf8");
  return new Set(mountinfo.split("\n").map((line) => line.split(" ")[4] ?? ""));
}
