import { resourceExhausted } from "../base/index.ts";

/** How every store says that a revision is gone. */
export function compacted(revision: number, compactRevision: number) {
  return resourceExhausted(`revision ${revision} has been compacted`, { details: { compactRevision } });
}
