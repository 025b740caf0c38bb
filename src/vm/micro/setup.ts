import type { SandboxRequest } from "../../engine/index.ts";
import type { GuestNetwork } from "../network/index.ts";
import { networkRequests } from "./network.ts";

/** What makes a machine this sandbox' own, as tasks for its agent (identity.pl): its share, name, settings and network. `cards`: how many it has. Pure. */
export function identityTasks(
  { hostname = "", sysctls = {} }: SandboxRequest,
  network: GuestNetwork,
  cards: number,
): string[] {
  return [
    "share",
    ...(hostname ? [`hostname ${hostname}`] : []),
    ...Object.entries(sysctls).map(([name, value]) => `sysctl ${name.replaceAll(".", "/")} ${value}`),
    ...networkRequests(network, cards).map((request) => `netlink ${request.toString("hex")}`),
  ];
}

/** Fills what is free with zeros, which take no room in a file, and lets go of it. */
export const EMPTY_MEMORY_SCRIPT = [
  "set -e",
  "echo 3 >/proc/sys/vm/drop_caches",
  "while read -r name value unit; do [ $name != MemAvailable: ] || free=$value; done </proc/meminfo",
  "mkdir -p /zeros; mount -t tmpfs -o size=100% tmpfs /zeros",
  // Not to the last page: nothing may be killed for it.
  "dd if=/dev/zero of=/zeros/zeros bs=1048576 count=$((free / 1024 - 24)) 2>/dev/null",
  "umount /zeros; rmdir /zeros",
  "echo 3 >/proc/sys/vm/drop_caches",
].join("\n");
