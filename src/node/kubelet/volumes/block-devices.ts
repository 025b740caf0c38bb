import { mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { failedPrecondition, KeyedMutex } from "../../../base/index.ts";
import type { KubeletHost } from "../kubelet-api.ts";

export interface BlockDevicesOptions {
  readonly host: Pick<KubeletHost, "attachLoop" | "detachLoop" | "loopDevices">;
  /** `mountsRoot/UID/devices` says which files are devices for a Pod. Gone after a reboot, as the devices are. */
  readonly mountsRoot: string;
}

/** Volumes of mode Block that stand in files: a loop device each, shared by the Pods that have the volume, gone with the last of them. */
export class BlockDevices {
  readonly #options: BlockDevicesOptions;
  /** By file. */
  readonly #alone = new KeyedMutex();

  constructor(options: BlockDevicesOptions) {
    this.#options = options;
  }

  /** The device for a Pod's volume: the source itself where it is one. Idempotent; a file that has grown is a larger device then. */
  async prepare(uid: string, name: string, source: string): Promise<string> {
    const facts = await stat(source).catch((cause: unknown) => {
      throw failedPrecondition(`path "${source}" does not exist`, { cause });
    });
    if (facts.isBlockDevice()) return source;
    if (!facts.isFile()) throw failedPrecondition(`path "${source}" is neither a block device nor a file`);
    return this.#alone.run(source, async () => {
      const record = path.join(this.#folder(uid), name);
      await mkdir(path.dirname(record), { recursive: true, mode: 0o750 });
      // First, so that a crash leaves no device that nobody knows of.
      await writeFile(record, source);
      return this.#options.host.attachLoop(source);
    });
  }

  async teardown(uid: string): Promise<void> {
    for (const { record, file } of await this.#records(uid))
      await this.#alone.run(file, async () => {
        if (!(await this.#hasOthers(uid, file)))
          for (const loop of this.#options.host.loopDevices())
            if (loop.file === file) this.#options.host.detachLoop(loop.device);
        await rm(record, { force: true });
      });
  }

  #folder(uid: string): string {
    return path.join(this.#options.mountsRoot, uid, "devices");
  }

  async #records(uid: string): Promise<Array<{ record: string; file: string }>> {
    const folder = this.#folder(uid);
    const names = await readdir(folder).catch(() => []);
    return Promise.all(
      names.map(async (name) => {
        const record = path.join(folder, name);
        return { record, file: await readFile(record, "utf8") };
      }),
    );
  }

  async #hasOthers(uid: string, file: string): Promise<boolean> {
    const others = (await readdir(this.#options.mountsRoot).catch(() => [])).filter((other) => other !== uid);
    const records = await Promise.all(others.map((other) => this.#records(other)));
    return records.flat().some((record) => record.file === file);
  }
}
