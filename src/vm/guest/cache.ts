import { readdir, rm, stat, utimes } from "node:fs/promises";
import path from "node:path";
import type { Clock } from "../../base/index.ts";

/** Kernels, initramfs archives, saved machines and what was found out about the host; shared by all instances. */
export const CACHE = "/var/cache/berth/vm";

const UNUSED_MS = 7 * 24 * 3600 * 1000;

/** Says that a file or folder of the cache is in use. */
export async function touch(file: string, clock: Clock): Promise<void> {
  const now = new Date(clock.nowMs());
  await utimes(file, now, now).catch(() => {});
}

/** Removes what nobody has touched for a week, and all but the `keep` last touched: what former versions, kernels and sizes left. `match` chooses by name. */
export async function forgetUnused(folder: string, match: RegExp, keep: number, clock: Clock): Promise<void> {
  const names = (await readdir(folder).catch(() => [])).filter((name) => match.test(name));
  const entries = await Promise.all(
    names.map(async (name) => {
      const file = path.join(folder, name);
      return { file, usedMs: (await stat(file).catch(() => undefined))?.mtimeMs ?? 0 };
    }),
  );
  entries.sort((a, b) => b.usedMs - a.usedMs);
  const nowMs = clock.nowMs();
  for (const [index, { file, usedMs }] of entries.entries())
    if (index >= keep || nowMs - usedMs > UNUSED_MS) await rm(file, { recursive: true, force: true });
}
