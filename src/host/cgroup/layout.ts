import { existsSync, readFileSync } from "node:fs";

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
