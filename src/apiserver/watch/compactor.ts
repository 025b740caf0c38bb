import { messageOf, type Clock, type Logger, type Timer } from "../../base/index.ts";
import type { Store } from "../../storage/index.ts";

const EVERY_MS = 5 * 60_000;

/** Lets the store forget what is older than five minutes, as upstream's compactor does: pages and watches from then expire. */
export function startCompactor(store: Store, clock: Clock, log: Logger): () => void {
  let timer: Timer;
  let before: number | undefined;
  const tick = async () => {
    try {
      const revision = await store.revision();
      if (before !== undefined) await store.compact(before);
      before = revision;
    } catch (error) {
      log.warn("the store could not be compacted", { error: messageOf(error) });
    }
    timer = clock.after(EVERY_MS, () => void tick());
  };
  timer = clock.after(EVERY_MS, () => void tick());
  return () => timer.cancel();
}
