import type { SandboxRequest } from "../../engine/index.ts";
import { addressScript, cardsScript, type GuestLink, type GuestNetwork } from "./network.ts";
import { GUEST_NAMESPACES } from "./spec.ts";

const NAMES = Object.keys(GUEST_NAMESPACES).join(" ");

/** Makes the namespaces that the containers share, with the machine's cards in them. Pure. */
export function namespacesScript(links: readonly GuestLink[]): string {
  return [
    "set -e",
    `mkdir -p /run/ns; for n in ${NAMES}; do : >/run/ns/$n; done`,
    `unshare --net=${GUEST_NAMESPACES.net} --ipc=${GUEST_NAMESPACES.ipc} --uts=${GUEST_NAMESPACES.uts} sleep 2147483647 >/dev/null 2>&1 &`,
    "holder=$!",
    `until grep -q ${GUEST_NAMESPACES.uts} /proc/mounts; do :; done`,
    `nsenter --net=${GUEST_NAMESPACES.net} ip link set lo up`,
    cardsScript(links),
  ].join("\n");
}

/** What makes the machine this sandbox' own: its share, name, settings and addresses. `card`: the one it was saved with. Pure. */
export function identityScript(
  { hostname = "", sysctls = {} }: SandboxRequest,
  network: GuestNetwork,
  card?: GuestLink,
): string {
  return [
    "set -e",
    // A card that was put in a moment ago may not be there yet.
    "n=0; until mount -t virtiofs berth /share 2>/dev/null; do n=$((n+1)); [ $n -lt 200 ]; sleep 0.02; done",
    ...(hostname ? [`nsenter --uts=${GUEST_NAMESPACES.uts} hostname ${hostname}`] : []),
    ...Object.entries(sysctls).map(
      ([name, value]) =>
        `nsenter --net=${GUEST_NAMESPACES.net} --ipc=${GUEST_NAMESPACES.ipc} sysctl -w ${name}='${value}'`,
    ),
    addressScript(network, card),
  ].join("\n");
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
