import { readdirSync, statSync } from "node:fs";
import path from "node:path";
import { invalidArgument } from "../../../base/index.ts";
import type { OciDevice } from "../../../api/index.ts";

export interface DeviceNode {
  readonly major: number;
  readonly minor: number;
  readonly type: "c" | "b";
  /** Permission bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** Of a device node of the host. Throws invalidArgument in Docker's words. */
export function deviceNumbers(file: string): DeviceNode {
  const stat = statSync(file, { throwIfNoEntry: false });
  if (!stat || !(stat.isCharacterDevice() || stat.isBlockDevice())) {
    throw invalidArgument(
      `error gathering device information while adding custom device "${file}": ${stat ? "not a device node" : "no such file or directory"}`,
    );
  }
  const { rdev, uid, gid } = stat;
  return {
    // Linux' encoding of dev_t for user space.
    major: ((rdev >> 8) & 0xfff) | 0,
    minor: (rdev & 0xff) | ((rdev >>> 12) & 0xfff00),
    type: stat.isBlockDevice() ? "b" : "c",
    mode: stat.mode & 0o777,
    uid,
    gid,
  };
}

/** What every container has of its own in /dev: file systems, and its terminal. */
const OWN = new Set(["/dev/pts", "/dev/shm", "/dev/fd", "/dev/mqueue", "/dev/console"]);
/** No machine has as many; a folder that somebody filled must not hold up a start. */
const MAX_DEVICES = 10_000;

export type HostDevice = OciDevice & { readonly type: DeviceNode["type"] };

/** The device at a path of the host, or those of a folder such as /dev/snd. Throws invalidArgument where there is neither. */
export function devicesAt(file: string): HostDevice[] {
  if (!statSync(file, { throwIfNoEntry: false })?.isDirectory()) return [node(file)];
  const found: HostDevice[] = [];
  const walk = (folder: string) => {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const inner = path.join(folder, entry.name);
      if (OWN.has(inner) || found.length >= MAX_DEVICES) continue;
      if (entry.isDirectory()) walk(inner);
      else if (entry.isCharacterDevice() || entry.isBlockDevice()) found.push(node(inner));
    }
  };
  walk(file);
  return found;
}

/** What a privileged container gets: all that the host has at the moment. */
export const hostDevices = (): HostDevice[] => devicesAt("/dev");

function node(file: string): HostDevice {
  const { mode, ...device } = deviceNumbers(file);
  return { ...device, path: file, fileMode: mode };
}
