import { readFile } from "node:fs/promises";
import type { vm } from "../../api/index.ts";
import { MiB, resourceExhausted } from "../../base/index.ts";

/** How much more may be promised to machines that run than the host has: memory that guests do not touch is not taken. */
const OVERCOMMIT = { memory: 1.5, cpus: 8 } as const;

export interface HostMemory {
  readonly totalBytes: number;
  readonly availableBytes: number;
}

async function hostMemory(): Promise<HostMemory> {
  const text = await readFile("/proc/meminfo", "utf8");
  const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(text)?.[1] ?? 0) * 1024;
  return { totalBytes: field("MemTotal"), availableBytes: field("MemAvailable") };
}

/** Before a machine starts: throws resourceExhausted when the host has not the memory that it would take. */
export async function checkMemory({ memoryBytes }: vm.VmSpec, monitorBytes: number): Promise<void> {
  refuseShortage(await hostMemory(), memoryBytes + monitorBytes);
}

export function refuseShortage({ availableBytes }: HostMemory, neededBytes: number): void {
  const mib = (bytes: number) => `${Math.round(bytes / MiB)} MiB`;
  if (neededBytes > availableBytes)
    throw resourceExhausted(
      `the machine needs ${mib(neededBytes)} of memory; the host has ${mib(availableBytes)} left`,
      {
        hint: "give it less (berth vm resize --memory), or stop another one",
      },
    );
}

/** Whether one more machine may be promised what it asks for, beside those that run. Pure. */
export function refuseOvercommit(
  host: { readonly memoryBytes: number; readonly cpus: number },
  running: readonly vm.VmSpec[],
  wanted: vm.VmSpec,
): void {
  const memory = running.reduce((sum, spec) => sum + spec.memoryBytes, wanted.memoryBytes);
  const cpus = running.reduce((sum, spec) => sum + spec.cpus, wanted.cpus);
  const mib = (bytes: number) => `${Math.round(bytes / MiB)} MiB`;
  const hint = "stop another machine, or make this one smaller: berth vm resize";
  if (memory > host.memoryBytes * OVERCOMMIT.memory)
    throw resourceExhausted(
      `with this machine ${mib(memory)} of memory would be promised; ${OVERCOMMIT.memory} times the host's are ${mib(host.memoryBytes * OVERCOMMIT.memory)}`,
      { hint },
    );
  if (cpus > host.cpus * OVERCOMMIT.cpus)
    throw resourceExhausted(
      `with this machine ${cpus} processors would be promised; ${OVERCOMMIT.cpus} times the host's are ${host.cpus * OVERCOMMIT.cpus}`,
      { hint },
    );
}
