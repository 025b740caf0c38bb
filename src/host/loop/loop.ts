import { closeSync, openSync, readdirSync, readFileSync } from "node:fs";
import { conflict } from "../../base/index.ts";
import { checked, errno, errnoError, errnoName, libc } from "../ffi/index.ts";
import { makeNode, S_IFBLK } from "../mount/index.ts";

/** A file that is a block device. */
export interface LoopDevice {
  /** `/dev/loop3` */
  readonly device: string;
  readonly file: string;
}

// <linux/loop.h>
const LOOP_CTL_GET_FREE = 0x4c82;
const LOOP_CONFIGURE = 0x4c0a;
const LOOP_CLR_FD = 0x4c01;
const LOOP_SET_CAPACITY = 0x4c07;
const LOOP_MAJOR = 7;
/** struct loop_config: descriptor, block size, struct loop_info64, reserved. */
const CONFIG_BYTES = 304;
const CONFIG_FILE_NAME = 64;
const FILE_NAME_BYTES = 63;

const IOCTL = "int ioctl(int fd, unsigned long request, unsigned long argument)";
const IOCTL_BUFFER = "int ioctl(int fd, unsigned long request, _In_ void *argument)";
/** Others on the machine may take the free device first. */
const MAX_TRIES = 20;

/** Every loop device of the machine that has a file. */
export function loopDevices(): LoopDevice[] {
  return readdirSync("/sys/block")
    .filter((name) => name.startsWith("loop"))
    .flatMap((name) => {
      const file = textOf(`/sys/block/${name}/loop/backing_file`);
      return file === undefined ? [] : [{ device: `/dev/${name}`, file }];
    });
}

/** Makes a file a block device. A file that is one already stays that one, and gets the size that the file has now. Needs Linux 5.8. */
export function attachLoop(file: string): string {
  const existing = loopDevices().find((loop) => loop.file === file);
  if (existing) {
    withOpen(existing.device, "r+", (fd) => checked(libc(IOCTL)(fd, LOOP_SET_CAPACITY, 0), `resize ${file}`));
    return existing.device;
  }
  return withOpen(file, "r+", (backing) => {
    const config = Buffer.alloc(CONFIG_BYTES);
    config.writeUInt32LE(backing, 0);
    config.write(file.slice(-FILE_NAME_BYTES), CONFIG_FILE_NAME);
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const device = freeDevice();
      if (withOpen(device, "r+", (fd) => configured(fd, config, file))) return device;
    }
    throw conflict(`no loop device stayed free for ${file}`);
  });
}

/** Once nobody has it open. Idempotent. */
export function detachLoop(device: string): void {
  withOpen(device, "r", (fd) => {
    if (libc(IOCTL)(fd, LOOP_CLR_FD, 0) < 0 && errnoName(errno()) !== "ENXIO")
      throw errnoError(errno(), `detach ${device}`);
  });
}

function freeDevice(): string {
  const number = withOpen("/dev/loop-control", "r+", (fd) =>
    checked(libc(IOCTL)(fd, LOOP_CTL_GET_FREE, 0), "find a free loop device"),
  );
  const device = `/dev/loop${number}`;
  try {
    makeNode(device, S_IFBLK | 0o660, { major: LOOP_MAJOR, minor: number });
  } catch {
    // It is there already, as everywhere but in containers.
  }
  return device;
}

/** False when somebody else was faster. */
function configured(fd: number, config: Buffer, file: string): boolean {
  if (libc(IOCTL_BUFFER)(fd, LOOP_CONFIGURE, config) >= 0) return true;
  if (errnoName(errno()) !== "EBUSY") throw errnoError(errno(), `make ${file} a block device`);
  return false;
}

function withOpen<T>(path: string, flags: string, use: (fd: number) => T): T {
  const fd = openSync(path, flags);
  try {
    return use(fd);
  } finally {
    closeSync(fd);
  }
}

function textOf(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8").trim();
  } catch {
    return undefined;
  }
}
