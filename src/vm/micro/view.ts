import { mkdir, rm } from "node:fs/promises";
import path from "node:path";
import { internal } from "../../base/index.ts";
import { resolveInRoot, type ContainerRequest } from "../../engine/index.ts";
import { bindMount, mount, MS, mountsBelow, unmount } from "../../host/index.ts";
import { isBind } from "./spec.ts";

/**
 * The root of a guest's container with its volumes in their places, mounted on the host for whoever copies files while it runs. What the guest keeps
 * in memory (tmpfs) is not in it.
 */
export class HostView {
  readonly #folder: string;
  #opening: Promise<string> | undefined;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Unmounting is the sandbox' business. */
  open(request: ContainerRequest): Promise<string> {
    this.#opening ??= this.#mount(request);
    this.#opening.catch(() => (this.#opening = undefined));
    return this.#opening;
  }

  async #mount({ spec }: ContainerRequest): Promise<string> {
    await mkdir(this.#folder, { recursive: true });
    bindMount(spec.root.path, this.#folder, { recursive: true });
    // Else what is mounted here would appear in the guest's own root too.
    mount("none", this.#folder, null, MS.REC | MS.PRIVATE);
    for (const bind of spec.mounts.filter(isBind)) {
      const target = await resolveInRoot(this.#folder, bind.destination);
      bindMount(bind.source!, target, { recursive: true });
    }
    return this.#folder;
  }
}

export const viewFolder = (machineFolder: string, containerId: string): string =>
  path.join(machineFolder, "views", containerId);

/** Removes a folder with what is mounted in it, and never what is behind a mount. */
export async function removeFolder(folder: string): Promise<void> {
  for (const target of mountsBelow(folder)) unmount(target, { lazy: true });
  if (mountsBelow(folder).length > 0) throw internal(`${folder} is still mounted`);
  await rm(folder, { recursive: true, force: true });
}
