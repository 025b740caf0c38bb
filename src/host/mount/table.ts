import { readFileSync } from "node:fs";

export interface MountEntry {
  readonly mountPoint: string;
  readonly type: string;
  readonly source: string;
  /** Options of the filesystem itself (`lowerdir=…`). */
  readonly options: string;
}

/** What is mounted in this mount namespace, in mount order (proc_pid_mountinfo(5)). */
export function listMounts(text = readFileSync("/proc/self/mountinfo", "utf8")): MountEntry[] {
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => {
      const fields = line.split(" ");
      const dash = fields.indexOf("-", 6);
      return {
        mountPoint: unescape(fields[4]!),
        type: fields[dash + 1]!,
        source: unescape(fields[dash + 2]!),
        options: fields.slice(dash + 3).join(" "),
      };
    });
}

/** Mount points at or below `folder`, deepest and latest first: the order in which to unmount them. */
export function mountsBelow(folder: string, mounts = listMounts()): string[] {
  return mounts
    .map((entry) => entry.mountPoint)
    .filter((point) => point === folder || point.startsWith(folder + "/"))
    .reverse();
}

/** The kernel writes space, tab, newline and backslash as octal. */
function unescape(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)));
}
