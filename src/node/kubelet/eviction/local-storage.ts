import { formatBinaryQuantity, parseQuantity } from "../../../base/index.ts";
import type { Pod } from "../pod/imports.ts";
import type { Verdict } from "../pod/verdict.ts";

/** What a Pod keeps on the node's disk, in bytes. */
export interface StorageUsage {
  /** By container: its writable layer and its logs. */
  readonly containers: ReadonlyMap<string, number>;
  /** By volume: emptyDirs that are on disk. */
  readonly emptyDirs: ReadonlyMap<string, number>;
}

const NAME = "ephemeral-storage";

/** Whether anything of the Pod limits what it may keep, so that it is worth being measured. */
export function limitsStorage(pod: Pod): boolean {
  const { containers = [], volumes = [] } = pod.spec ?? {};
  return (
    containers.some(({ resources }) => resources?.limits?.[NAME] !== undefined) ||
    volumes.some(({ emptyDir }) => emptyDir?.sizeLimit !== undefined && emptyDir.medium !== "Memory")
  );
}

/**
 * Why a Pod goes that keeps more than it may, whatever room the node has: an emptyDir beyond its size, a container beyond its limit, or everything together
 * beyond the sum of the limits. Upstream's order and words (pkg/kubelet/eviction). Pure.
 */
export function overLimit(pod: Pod, usage: StorageUsage): Verdict | undefined {
  const { containers = [], volumes = [] } = pod.spec ?? {};
  const evicted = (message: string): Verdict => ({ reason: "Evicted", message });
  for (const { name, emptyDir } of volumes) {
    if (!emptyDir?.sizeLimit || emptyDir.medium === "Memory") continue;
    if ((usage.emptyDirs.get(name) ?? 0) > parseQuantity(emptyDir.sizeLimit))
      return evicted(`Usage of EmptyDir volume "${name}" exceeds the limit "${emptyDir.sizeLimit}".`);
  }
  const limits = containers.flatMap(({ name, resources }) => {
    const limit = resources?.limits?.[NAME];
    return limit === undefined ? [] : [{ name, text: limit, bytes: parseQuantity(limit) }];
  });
  const whole = limits.reduce((sum, { bytes }) => sum + bytes, 0);
  const used = [...usage.containers.values(), ...usage.emptyDirs.values()].reduce((sum, bytes) => sum + bytes, 0);
  if (limits.length > 0 && used > whole)
    return evicted(
      `Pod ephemeral local storage usage exceeds the total limit of containers ${formatBinaryQuantity(whole)}. `,
    );
  const over = limits.find(({ name, bytes }) => (usage.containers.get(name) ?? 0) > bytes);
  return over && evicted(`Container ${over.name} exceeded its local ephemeral storage limit "${over.text}". `);
}
