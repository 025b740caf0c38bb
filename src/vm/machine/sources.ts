import { createWriteStream } from "node:fs";
import { access, constants, link, mkdir, open, rename, rm, stat, truncate, writeFile } from "node:fs/promises";
import path from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { vm } from "../../api/index.ts";
import { failedPrecondition, GiB, invalidArgument, MiB, randomHex, unavailable } from "../../base/index.ts";
import { resolveUser } from "../../engine/index.ts";
import { run } from "../../host/index.ts";
import { sha256File } from "../disk/index.ts";
import type { Catalogue } from "../image/index.ts";
import { VM_UID } from "../micro/root.ts";
import type { MachineHost } from "./host.ts";
import type { Machine } from "./machine.ts";
import { unpackOva } from "./ova.ts";
import type { MachineRecord } from "./record.ts";

const ISO_DISK_BYTES = 10 * GiB;
const OCI_SLACK_BYTES = 512 * MiB;
const LONG_MS = 30 * 60_000;

/** What the source of a machine gave: the files of its disks stand in the folder. */
export interface Source {
  readonly firmware: vm.VmFirmware;
  readonly guest: MachineRecord["guest"];
  /** Sizes of the disks that stand in the folder now, in bytes. */
  readonly disks: readonly number[];
  readonly bases: readonly string[];
  readonly cdrom?: string;
  readonly process?: vm.VmProcess;
  /** What the request may leave out: of a cloned machine, or said by an appliance's descriptor. */
  readonly like?: Partial<vm.VmSpec>;
}

export interface Creation {
  readonly host: MachineHost;
  readonly catalogue: Catalogue;
  readonly find: (name: string) => Machine;
  readonly request: vm.CreateVmRequest;
  readonly signal?: AbortSignal;
}

/** Makes the disks of a machine from what the request names. Throws before or during; the folder is the caller's to remove. */
export async function prepareSource(creation: Creation, folder: string): Promise<Source> {
  const { request, catalogue } = creation;
  const { source } = request;
  const disk = path.join(folder, "disk0.qcow2");
  if (source.startsWith("oci:")) return fromOciImage(creation, source.slice("oci:".length), disk);
  if (source.startsWith("vm:")) return cloneMachine(creation, source.slice("vm:".length), folder);
  if (/^https?:\/\//.test(source)) return fromUrl(creation, folder, disk);
  if (/^\/.*\.ova$/i.test(source)) return fromOva(creation, source, folder);
  if (source.startsWith("/")) return fromFile(creation, source, disk);
  if (!catalogue.has(source))
    throw invalidArgument(`a machine cannot be made from ${JSON.stringify(source)}`, {
      hint: "an image of `berth vm images`, oci:IMAGE, vm:NAME, an absolute path of a disk image or ISO, or a URL with --sha256",
    });
  const base = await catalogue.ensure(source, creation.signal);
  const made = await creation.host.disks.linkedClone(base, disk, request.diskBytes ?? base.virtualSizeBytes);
  return { firmware: "kernel", guest: "system", disks: [made.virtualSizeBytes], bases: [base.file] };
}

async function fromFile({ host, request, signal }: Creation, file: string, disk: string): Promise<Source> {
  await access(file, constants.R_OK).catch((cause: unknown) => {
    throw invalidArgument(`${file} cannot be read`, { cause });
  });
  if (await isIso(file)) {
    const facts = await stat(file);
    if ((facts.mode & 0o004) === 0 && facts.uid !== VM_UID)
      throw failedPrecondition(`${file} cannot be read by the user under whom monitors run`, {
        hint: `chmod a+r ${file}`,
      });
    const made = await host.disks.create(disk, request.diskBytes ?? ISO_DISK_BYTES);
    return { firmware: "bios", guest: "system", disks: [made.virtualSizeBytes], bases: [], cdrom: file };
  }
  const made = await host.disks.import(file, disk, {
    ...(request.diskBytes ? { minSizeBytes: request.diskBytes } : {}),
    ...(signal ? { signal } : {}),
  });
  return { firmware: "bios", guest: "system", disks: [made.virtualSizeBytes], bases: [] };
}

const ISO_MAGIC_OFFSET = 0x8001;

async function isIso(file: string): Promise<boolean> {
  const handle = await open(file, "r");
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(5), 0, 5, ISO_MAGIC_OFFSET);
    return bytesRead === 5 && buffer.toString("latin1") === "CD001";
  } finally {
    await handle.close();
  }
}

async function fromUrl(creation: Creation, folder: string, disk: string): Promise<Source> {
  const { source, sha256 } = creation.request;
  if (!sha256)
    throw invalidArgument("an image from the network needs its checksum", {
      hint: "--sha256 HEX, from the image's publisher",
    });
  const file = path.join(folder, "download");
  const response = await fetch(source, creation.signal ? { signal: creation.signal } : {}).catch((cause: unknown) => {
    throw unavailable(`${source} cannot be fetched`, { cause });
  });
  if (!response.ok || !response.body) throw unavailable(`${source} answered ${response.status}`);
  await pipeline(Readable.fromWeb(response.body as never), createWriteStream(file, { mode: 0o644 }));
  const found = await sha256File(file);
  if (found !== sha256.toLowerCase())
    throw failedPrecondition(`${source} has the checksum ${found}, not ${sha256}`, {
      hint: "it was changed on the way, or the checksum is of another file",
    });
  if (await isIso(file)) {
    const kept = path.join(folder, "cdrom.iso");
    await rename(file, kept);
    return fromFile(creation, kept, disk);
  }
  const isAppliance = new URL(source).pathname.endsWith(".ova");
  const made = isAppliance ? await fromOva(creation, file, folder) : await fromFile(creation, file, disk);
  await rm(file);
  return made;
}

/** An appliance: its disks, and the sizes that its descriptor asks for. */
async function fromOva({ host, request, signal }: Creation, file: string, folder: string): Promise<Source> {
  const work = path.join(folder, "appliance");
  await mkdir(work, { mode: 0o700 });
  try {
    const { descriptor, disks: files } = await unpackOva(file, work, signal);
    const disks: number[] = [];
    for (const [index, name] of files.entries()) {
      const minSizeBytes = index === 0 ? request.diskBytes : undefined;
      const made = await host.disks.import(path.join(work, name), path.join(folder, `disk${index}.qcow2`), {
        ...(minSizeBytes ? { minSizeBytes } : {}),
        ...(signal ? { signal } : {}),
      });
      disks.push(made.virtualSizeBytes);
    }
    const { firmware, cpus, memoryBytes } = descriptor;
    const like = { ...(cpus ? { cpus } : {}), ...(memoryBytes ? { memoryBytes } : {}) };
    return { firmware, guest: "system", disks, bases: [], like };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** The image's root file system becomes the disk; berth supplies kernel, init and agent. */
async function fromOciImage({ host, request, signal }: Creation, name: string, disk: string): Promise<Source> {
  const { images, snapshots } = host.engine;
  const image = await images.resolve(name);
  const root = path.join(host.context.runtimeDir, `image-${path.basename(path.dirname(path.dirname(disk)))}`);
  if (image.chainId === undefined) throw invalidArgument(`the image ${name} has no files`);
  await snapshots.mountLayer(image.chainId, root);
  try {
    const { stdout } = await run(["/usr/bin/du", "-s", "--block-size=1", "-x", root], { timeoutMs: LONG_MS });
    const usedBytes = Number(stdout.split("\t")[0]);
    const sizeBytes = Math.max(request.diskBytes ?? 0, Math.ceil((usedBytes * 1.2 + OCI_SLACK_BYTES) / MiB) * MiB);
    const raw = `${disk}.raw`;
    await writeFile(raw, "");
    await truncate(raw, sizeBytes);
    const { code, stderr } = await run(["/usr/sbin/mkfs.ext4", "-q", "-F", "-L", "root", "-d", root, raw], {
      timeoutMs: LONG_MS,
      ...(signal ? { signal } : {}),
    });
    if (code !== 0) throw failedPrecondition(`the image's root file system does not become a disk: ${stderr.trim()}`);
    await host.disks.import(raw, disk);
    await rm(raw);
    const config = image.config.config ?? {};
    const args = [...(config.Entrypoint ?? []), ...(request.args?.length ? request.args : (config.Cmd ?? []))];
    if (args.length === 0)
      throw invalidArgument(`the image ${name} names no program to run`, { hint: "give one after the image" });
    const user = await resolveUser(root, config.User ?? "");
    return {
      firmware: "kernel",
      guest: "oci",
      disks: [sizeBytes],
      bases: [],
      process: { args, env: config.Env ?? [], cwd: config.WorkingDir || "/", user: `${user.uid}:${user.gid}` },
    };
  } finally {
    await snapshots.unmount(root);
    await rm(root, { recursive: true, force: true });
  }
}

/** A clone: with disks that share what neither changes (`linked`), or copies. It gets an identity of its own: names, addresses, keys. */
async function cloneMachine(creation: Creation, reference: string, folder: string): Promise<Source> {
  const { host, request, find, signal } = creation;
  const [name = "", snapshot] = reference.split("@");
  const origin = find(name);
  return origin.exclusively(async () => {
    const { record } = origin;
    if (origin.live)
      throw failedPrecondition(`${name} is ${record.state}; what a running machine writes cannot be cloned`, {
        hint: `stop it first: berth vm stop ${name}`,
      });
    if (snapshot !== undefined && !record.snapshots.some((known) => known.name === snapshot))
      throw invalidArgument(`${name} has no snapshot ${snapshot}`);
    const copy = request.full || snapshot !== undefined || record.snapshots.length > 0;
    const bases = new Set(record.bases);
    for (const { name: disk, sizeBytes } of record.spec.disks) {
      const source = { file: origin.diskFile(disk), format: "qcow2", virtualSizeBytes: sizeBytes };
      const target = path.join(folder, `${disk}.qcow2`);
      if (copy) await copyDisk(host, source.file, target, snapshot, signal);
      else bases.add(await shareDisk(host, origin, disk, target));
    }
    if (!copy) await origin.change({ bases: [...bases] });
    return {
      firmware: record.spec.firmware,
      guest: record.guest,
      disks: record.spec.disks.map((disk) => disk.sizeBytes),
      bases: copy ? [] : [...bases],
      like: record.spec,
      ...(record.spec.process ? { process: record.spec.process } : {}),
    };
  });
}

async function copyDisk(host: MachineHost, source: string, target: string, snapshot?: string, signal?: AbortSignal) {
  if (snapshot === undefined) {
    await host.disks.fullClone({ file: source, format: "qcow2", virtualSizeBytes: 0 }, target, signal);
    return;
  }
  const argv = ["/usr/bin/qemu-img", "convert", "-l", `snapshot.name=${snapshot}`, "-O", "qcow2", source, target];
  const { code, stderr } = await run(argv, { timeoutMs: LONG_MS });
  if (code !== 0) throw failedPrecondition(`the snapshot cannot be copied: ${stderr.trim()}`);
}

/** The origin's disk becomes a base that nobody writes any more, and both go on from it. */
async function shareDisk(host: MachineHost, origin: Machine, disk: string, target: string): Promise<string> {
  const folder = path.join(host.dataDir, "bases");
  await mkdir(folder, { recursive: true, mode: 0o711 });
  const base = path.join(folder, `${origin.id}-${disk}-${randomHex(host.context.random, 4)}.qcow2`);
  const file = origin.diskFile(disk);
  await link(file, base);
  const shared = { file: base, format: "qcow2", virtualSizeBytes: (await host.disks.info(base)).virtualSizeBytes };
  // One rename puts the overlay in the disk's place: before it the origin has its own disk, after it the same content.
  await host.disks.linkedClone(shared, file);
  await host.disks.linkedClone(shared, target);
  await host.handOver(origin.disksFolder);
  return base;
}
