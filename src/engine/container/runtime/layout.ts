import path from "node:path";

/** Where the core keeps what it knows, all below the instance's runtime directory. */
export class RuntimeLayout {
  readonly root: string;

  constructor(runtimeDir: string) {
    this.root = runtimeDir;
  }
  /** A container's bundle: config.json, our facts, and conmon's sockets and pid files. */
  bundle(id: string): string {
    return path.join(this.bundles, id);
  }
  get bundles(): string {
    return path.join(this.root, "containers");
  }
  /** Where to mount a container's root filesystem: below the runtime directory, which runtimes' mount namespace shares. */
  rootfs(id: string): string {
    return path.join(this.bundle(id), "rootfs");
  }
  sandbox(id: string): string {
    return path.join(this.sandboxes, id);
  }
  get sandboxes(): string {
    return path.join(this.root, "sandboxes");
  }
  get exits(): string {
    return path.join(this.root, "exits");
  }
  /** The OCI runtime's own state (`--root`). */
  runtimeState(runtime: string): string {
    return path.join(this.root, "oci", path.basename(runtime));
  }
}
