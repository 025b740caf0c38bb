import { invalidArgument } from "../../../base/index.ts";

/** All capabilities, in the kernel's order (capabilities(7)). */
export const ALL_CAPABILITIES: readonly string[] = (
  "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW " +
  "IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD " +
  "LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
)
  .split(" ")
  .map((name) => `CAP_${name}`);

/** What a container has unless told otherwise: Docker's fourteen. */
export const DEFAULT_CAPABILITIES: readonly string[] =
  "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE"
    .split(" ")
    .map((name) => `CAP_${name}`);

/** Docker's `--cap-add` and `--cap-drop`: names with or without `CAP_`, in any case, and `ALL`. Throws invalidArgument for unknown ones. */
export function effectiveCapabilities(
  add: readonly string[] | null | undefined,
  drop: readonly string[] | null | undefined,
  privileged = false,
): string[] {
  const adds = (add ?? []).map(normalize);
  const drops = (drop ?? []).map(normalize);
  if (privileged) return [...ALL_CAPABILITIES];
  const base = adds.includes("ALL") ? ALL_CAPABILITIES : drops.includes("ALL") ? [] : DEFAULT_CAPABILITIES;
  const dropped = new Set(drops);
  const result = new Set(base.filter((name) => !dropped.has(name)));
  for (const name of adds) if (name !== "ALL") result.add(name);
  return ALL_CAPABILITIES.filter((name) => result.has(name));
}

function normalize(name: string): string {
  const upper = name.toUpperCase();
  if (upper === "ALL") return upper;
  const full = upper.startsWith("CAP_") ? upper : `CAP_${upper}`;
  if (!ALL_CAPABILITIES.includes(full)) throw invalidArgument(`invalid capability: unknown capability: "${full}"`);
  return full;
}

/** The capabilities this daemon may give: those in its own bounding set (the CapBnd line of /proc/self/status). */
export function boundingSet(status: string): Set<string> {
  const mask = BigInt(`0x${/^CapBnd:\s*([0-9a-f]+)/m.exec(status)?.[1] ?? "0"}`);
  return new Set(ALL_CAPABILITIES.filter((_name, bit) => (mask >> BigInt(bit)) & 1n));
}
