import { existsSync, readFileSync, writeFile } from "node:fs";
import path from "node:path";

/** How this host mounts control groups. `hybrid` is v1 controllers with an empty or partly used v2 tree beside them. */
export interface CgroupLayout {
  readonly mode: "unified" | "legacy" | "hybrid";
  /** v1 controller → where its hierarchy is mounted. */
  readonly controllers: ReadonlyMap<string, string>;
  /** Where v2 is mounted. */
  readonly unified: string | undefined;
}

/** Reads the layout from /proc/self/mountinfo (proc_pid_mountinfo(5)). */
export function cgroupLayout(mountinfo = readFileSync("/proc/self/mountinfo", "utf8")): CgroupLayout {
  const controllers = new Map<string, string>();
  let unified: string | undefined;
  for (const line of mountinfo.split("\n")) {
    const [left = "", right = ""] = line.split(" - ");
    const target = left.split(" ")[4];
    const [type, , superOptions = ""] = right.split(" ");
    if (target === undefined) continue;
    if (type === "cgroup2") unified ??= target;
    if (type !== "cgroup") continue;
    for (const option of superOptions.split(",")) {
      if (V1_CONTROLLERS.has(option)) controllers.set(option, target);
      else if (option.startsWith("name=")) controllers.set(option, target);
    }
  }
  const mode = controllers.size === 0 ? "unified" : unified === undefined ? "legacy" : "hybrid";
  return { mode, controllers, unified };
}

const V1_CONTROLLERS = new Set([
  "cpu",
  "cpuacct",
  "cpuset",
  "memory",
  "devices",
  "freezer",
  "blkio",
  "pids",
  "net_cls",
  "net_prio",
  "perf_event",
  "hugetlb",
  "rdma",
  "misc",
]);

/** Every hierarchy's root, each once (cpu and cpuacct are often one mount). */
export function hierarchyRoots(layout: CgroupLayout): string[] {
  const roots = new Set(layout.controllers.values());
  if (layout.unified !== undefined && existsSync(layout.unified)) roots.add(layout.unified);
  return [...roots];
}

/**
 * Asks the kernel for cheap process moves soon: the first write to a cgroup.procs after 50 ms of rest waits 11 to 15 ms for a grace period, later ones
 * don't. Moving ourselves to where we are changes nothing but takes that wait now, beside other work.
 */
export function tryPrimeCgroups(layout: CgroupLayout): void {
  const root = layout.controllers.get("pids") ?? layout.unified;
  if (root === undefined) return;
  const own = readFileSync("/proc/self/cgroup", "utf8")
    .split("\n")
    .map((line) => line.split(":"))
    .find(([, controllers]) => (layout.controllers.has("pids") ? controllers === "pids" : controllers === ""));
  if (own?.[2] === undefined) return;
  writeFile(path.join(root, own[2], "cgroup.procs"), String(process.pid), () => {});
}
