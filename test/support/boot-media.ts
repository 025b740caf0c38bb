/** Boot media of a few hundred bytes, so that a test needs no operating system: each says one line on the first serial port and halts. */
import { run } from "./daemon.ts";
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";

const SECTOR = 512;
const CLUSTER_SECTORS = 4;
const FAT_SECTORS = 33;
const ROOT_ENTRIES = 512;
const DISK_BYTES = 16 * 1024 * 1024;

/** A disk whose first sector is started by BIOS: x86 real mode. */
export function bootSector(line: string): Buffer {
  const code = [0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0xbe, 0x16, 0x7c];
  const print = [0xac, 0x84, 0xc0, 0x74, 0x06, 0xba, 0xf8, 0x03, 0xee, 0xeb, 0xf5];
  const halt = [0xf4, 0xeb, 0xfd];
  const disk = Buffer.alloc(1024 * 1024);
  Buffer.from([...code, ...print, ...halt, ...Buffer.from(`${line}\r\n\0`)]).copy(disk);
  disk.writeUInt16LE(0xaa55, 510);
  return disk;
}

/** An ISO that BIOS boots without emulating a disk (El Torito). */
export async function bootIso(folder: string, line: string): Promise<string> {
  const tree = path.join(folder, "iso");
  mkdirSync(tree, { recursive: true });
  writeFileSync(path.join(tree, "boot.bin"), bootSector(line).subarray(0, 2048));
  const file = path.join(folder, "boot.iso");
  const boot = ["-b", "boot.bin", "-no-emul-boot", "-boot-load-size", "4"];
  const { code, stderr } = await run("genisoimage", ["-quiet", ...boot, "-o", file, tree]);
  if (code !== 0) throw new Error(stderr);
  return file;
}

/** A disk with a FAT file system and on it `EFI/BOOT/BOOTX64.EFI`, which UEFI starts. */
export function efiDisk(line: string): Buffer {
  const disk = Buffer.alloc(DISK_BYTES);
  disk.write("\xeb\x3c\x90BERTH   ", 0, "latin1");
  disk.writeUInt16LE(SECTOR, 11);
  disk.writeUInt8(CLUSTER_SECTORS, 13);
  disk.writeUInt16LE(1, 14);
  disk.writeUInt8(1, 16);
  disk.writeUInt16LE(ROOT_ENTRIES, 17);
  disk.writeUInt16LE(DISK_BYTES / SECTOR, 19);
  disk.writeUInt8(0xf8, 21);
  disk.writeUInt16LE(FAT_SECTORS, 22);
  disk.writeUInt8(0x29, 38);
  disk.write("BERTH      FAT16   ", 43, "latin1");
  disk.writeUInt16LE(0xaa55, 510);
  // Clusters 2, 3 and 4 are chains of one each.
  [0xfff8, 0xffff, 0xffff, 0xffff, 0xffff].forEach((next, index) => disk.writeUInt16LE(next, SECTOR + index * 2));
  const program = efiProgram(line);
  entry(disk, rootAt, "EFI        ", 0x10, 2, 0);
  entry(disk, clusterAt(2), "BOOT       ", 0x10, 3, 0);
  entry(disk, clusterAt(3), "BOOTX64 EFI", 0x20, 4, program.length);
  program.copy(disk, clusterAt(4));
  return disk;
}

const rootAt = SECTOR * (1 + FAT_SECTORS);
const clusterAt = (cluster: number) => rootAt + ROOT_ENTRIES * 32 + (cluster - 2) * CLUSTER_SECTORS * SECTOR;

function entry(disk: Buffer, at: number, name: string, attributes: number, cluster: number, size: number): void {
  disk.write(name, at, "latin1");
  disk.writeUInt8(attributes, at + 11);
  disk.writeUInt16LE(cluster, at + 26);
  disk.writeUInt32LE(size, at + 28);
}

/** A PE32+ image of one section: https://uefi.org/specs/UEFI/2.10/02_Overview.html#uefi-images */
function efiProgram(line: string): Buffer {
  const image = Buffer.alloc(2 * SECTOR);
  image.write("MZ");
  image.writeUInt32LE(0x40, 0x3c);
  image.write("PE\0\0", 0x40);
  image.writeUInt16LE(0x8664, 0x44);
  image.writeUInt16LE(1, 0x46);
  image.writeUInt16LE(0xf0, 0x54);
  image.writeUInt16LE(0x22, 0x56);
  const optional = 0x58;
  image.writeUInt16LE(0x20b, optional);
  image.writeUInt32LE(SECTOR, optional + 4);
  image.writeUInt32LE(0x1000, optional + 16);
  image.writeUInt32LE(0x1000, optional + 20);
  image.writeBigUInt64LE(0x400000n, optional + 24);
  image.writeUInt32LE(0x1000, optional + 32);
  image.writeUInt32LE(SECTOR, optional + 36);
  image.writeUInt32LE(0x2000, optional + 56);
  image.writeUInt32LE(SECTOR, optional + 60);
  image.writeUInt16LE(10, optional + 68);
  image.writeUInt32LE(16, optional + 108);
  const section = optional + 0xf0;
  image.write(".text", section);
  image.writeUInt32LE(SECTOR, section + 8);
  image.writeUInt32LE(0x1000, section + 12);
  image.writeUInt32LE(SECTOR, section + 16);
  image.writeUInt32LE(SECTOR, section + 20);
  image.writeUInt32LE(0x60000020, section + 36);
  const start = [0xfa, 0x48, 0x8d, 0x35, 0x0f, 0, 0, 0, 0x66, 0xba, 0xf8, 0x03];
  const print = [0xac, 0x84, 0xc0, 0x74, 0x03, 0xee, 0xeb, 0xf8];
  const halt = [0xf4, 0xeb, 0xfd];
  Buffer.from([...start, ...print, ...halt, ...Buffer.from(`${line}\r\n\0`)]).copy(image, SECTOR);
  return image;
}
