import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, rename, rm, statfs } from "node:fs/promises";
import path from "node:path";
import { failedPrecondition, GiB, invalidArgument, MiB, resourceExhausted } from "../../base/index.ts";
import { EXPORT_OPTIONS, IMPORTED_FORMATS } from "./formats.ts";
import { QemuImg, type DiskInfo } from "./qemu-img.ts";

export interface Disk {
  readonly file: string;
  readonly format: string;
  readonly virtualSizeBytes: number;
}

const MAX_VIRTUAL_BYTES = 8 * 1024 * GiB;
/** Kept free on the host, whatever is asked for. */
const RESERVE_BYTES = 256 * MiB;

/** Makes and changes disks. Every method leaves either the whole result or nothing. */
export class Disks {
  readonly #img: QemuImg;

  constructor(img = new QemuImg()) {
    this.#img = img;
  }

  info(file: string): Promise<DiskInfo> {
    return this.#img.info(file);
  }

  /** An empty disk. Throws invalidArgument for a size nobody means. */
  async create(file: string, sizeBytes: number): Promise<Disk> {
    checkSize(sizeBytes);
    await this.#into(file, (temporary) => this.#img.create(temporary, { sizeBytes }));
    return { file, format: "qcow2", virtualSizeBytes: sizeBytes };
  }

  /** A private copy of an image from outside, as qcow2, at least `minSizeBytes` large. Refuses what reaches for other files of the host. */
  async import(
    source: string,
    file: string,
    options: { readonly minSizeBytes?: number; readonly format?: string; readonly signal?: AbortSignal } = {},
  ): Promise<Disk> {
    const info = await this.#img.info(source, options.format);
    checkImported(info, source);
    await this.#room(path.dirname(file), info.actualSizeBytes);
    const virtualSizeBytes = Math.max(info.virtualSizeBytes, options.minSizeBytes ?? 0);
    checkSize(virtualSizeBytes);
    await this.#into(file, async (temporary) => {
      await this.#img.convert(
        { file: source, format: info.format },
        { file: temporary, format: "qcow2" },
        options.signal,
      );
      if (virtualSizeBytes > info.virtualSizeBytes) await this.#img.resize(temporary, "qcow2", virtualSizeBytes);
    });
    return { file, format: "qcow2", virtualSizeBytes };
  }

  /** A disk that begins as `base` is now and shares what neither changes. `base` must not be written any more. */
  async linkedClone(base: Disk, file: string, sizeBytes = base.virtualSizeBytes): Promise<Disk> {
    const virtualSizeBytes = Math.max(sizeBytes, base.virtualSizeBytes);
    checkSize(virtualSizeBytes);
    await this.#into(file, (temporary) => this.#img.create(temporary, { backing: base, sizeBytes: virtualSizeBytes }));
    return { file, format: "qcow2", virtualSizeBytes };
  }

  /** A disk of its own with the same content. */
  async fullClone(source: Disk, file: string, signal?: AbortSignal): Promise<Disk> {
    const info = await this.#img.info(source.file, source.format);
    await this.#room(path.dirname(file), info.actualSizeBytes);
    await this.#into(file, (temporary) => this.#img.convert(source, { file: temporary, format: "qcow2" }, signal));
    return { file, format: "qcow2", virtualSizeBytes: info.virtualSizeBytes };
  }

  /** Grows a disk of a stopped machine; a running one grows by its monitor. Disks don't shrink: the guest would lose its end. */
  async grow(disk: Disk, sizeBytes: number): Promise<Disk> {
    checkSize(sizeBytes);
    if (sizeBytes < disk.virtualSizeBytes)
      throw invalidArgument(`a disk of ${disk.virtualSizeBytes} bytes cannot shrink to ${sizeBytes}`, {
        hint: "make a smaller disk and copy the files over",
      });
    if (sizeBytes > disk.virtualSizeBytes) await this.#img.resize(disk.file, disk.format, sizeBytes);
    return { ...disk, virtualSizeBytes: sizeBytes };
  }

  /** Throws failedPrecondition with what is wrong. */
  async verify(disk: Disk): Promise<void> {
    const problem = await this.#img.check(disk.file, disk.format);
    if (problem)
      throw failedPrecondition(`the disk ${disk.file} is damaged: ${problem}`, {
        hint: "restore the machine from a backup or a snapshot",
      });
  }

  /** Writes the disk, its bases included, in another format; returns the file's SHA-256. */
  async export(disk: Disk, target: string, format: string, signal?: AbortSignal): Promise<string> {
    const as = EXPORT_OPTIONS[format];
    if (!as)
      throw invalidArgument(`disks are not exported as ${format}`, {
        hint: `one of ${Object.keys(EXPORT_OPTIONS).join(", ")}`,
      });
    await this.#into(target, (temporary) =>
      this.#img.convert(disk, { file: temporary, ...as, compress: format === "qcow2" }, signal),
    );
    return sha256File(target);
  }

  async #room(folder: string, neededBytes: number): Promise<void> {
    await mkdir(folder, { recursive: true, mode: 0o711 });
    const { bavail, bsize } = await statfs(folder);
    const freeBytes = bavail * bsize;
    if (freeBytes < neededBytes + RESERVE_BYTES) {
      throw resourceExhausted(`the disk needs ${neededBytes} bytes in ${folder}, which has ${freeBytes} free`, {
        hint: "free some space: berth vm ls, docker system df",
      });
    }
  }

  async #into(file: string, make: (temporary: string) => Promise<void>): Promise<void> {
    await mkdir(path.dirname(file), { recursive: true, mode: 0o711 });
    const temporary = `${file}.new`;
    await rm(temporary, { force: true });
    try {
      await make(temporary);
      await rename(temporary, file);
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  }
}

/** Kinds of VMDK that are one file: the others name files that hold their data. */
const WHOLE_VMDK: ReadonlySet<string> = new Set(["monolithicSparse", "streamOptimized"]);

/** A crafted image may name any file of the host as its base: it would end up in the guest. */
export function checkImported(info: DiskInfo, source: string): void {
  if (!IMPORTED_FORMATS.has(info.format))
    throw invalidArgument(`${source} is of format ${info.format}, which machines do not boot`, {
      hint: `one of ${[...IMPORTED_FORMATS].join(", ")}`,
    });
  if (info.backingFile !== undefined)
    throw invalidArgument(
      `${source} refers to another file (${info.backingFile}), which an image from outside may not`,
      { hint: "flatten it first: qemu-img convert -O qcow2 SOURCE TARGET" },
    );
  if (info.dataFile !== undefined)
    throw invalidArgument(
      `${source} keeps its data in another file (${info.dataFile}), which an image from outside may not`,
    );
  if (info.createType !== undefined && !WHOLE_VMDK.has(info.createType))
    throw invalidArgument(`${source} is a VMDK of type ${info.createType}, whose data may stand in other files`, {
      hint: "make one file of it: qemu-img convert -O qcow2 SOURCE TARGET",
    });
  if (info.encrypted) throw invalidArgument(`${source} is encrypted`, { hint: "decrypt it first: qemu-img convert" });
  if (info.corrupt) throw invalidArgument(`${source} is marked as corrupt`, { hint: "qemu-img check -r all SOURCE" });
}

function checkSize(sizeBytes: number): void {
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < MiB || sizeBytes > MAX_VIRTUAL_BYTES)
    throw invalidArgument(`a disk cannot have ${sizeBytes} bytes`, { hint: "between 1 MiB and 8 TiB" });
}

export async function sha256File(file: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(file, { highWaterMark: MiB })) hash.update(chunk as Buffer);
  return hash.digest("hex");
}
