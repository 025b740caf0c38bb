import type { NftChange, NftElement } from "../../host/index.ts";
import type { Wanted } from "./plan.ts";

interface Slot {
  readonly set: string;
  readonly element: NftElement;
  /** The Service it is programmed for, and those that want the same element or, for a key in dispute, wait for it. */
  readonly wanters: Set<string>;
}

/** What is in the kernel's sets, and for which Services. Computes the changes that bring it to what one more Service wants. */
export class ProgrammedElements {
  readonly #slots = new Map<string, Slot>();
  readonly #byService = new Map<string, Map<string, Wanted>>();

  get size(): number {
    return this.#slots.size;
  }

  /**
   * The changes for a Service that now wants `wanted`, deletions first. Two Services may want the same element (a hairpin pair); of two that want one key
   * with different values the first keeps it, and the other is in `disputed`.
   */
  replace(
    service: string,
    wanted: readonly Wanted[],
  ): { deletions: Wanted[]; additions: Wanted[]; disputed: Wanted[] } {
    const before = this.#byService.get(service) ?? new Map<string, Wanted>();
    const after = new Map(wanted.map((one) => [slotKey(one), one]));
    const deletions: Wanted[] = [];
    const additions: Wanted[] = [];
    const disputed: Wanted[] = [];
    for (const [key, one] of before) {
      const next = after.get(key);
      if (next && sameValue(next.element, one.element)) continue;
      this.#drop(key, service, deletions);
    }
    const held = new Map<string, Wanted>();
    for (const [key, one] of after) {
      const slot = this.#slots.get(key);
      if (slot && !sameValue(slot.element, one.element)) {
        disputed.push(one);
        continue;
      }
      held.set(key, one);
      if (slot) slot.wanters.add(service);
      else {
        this.#slots.set(key, { ...one, wanters: new Set([service]) });
        additions.push(one);
      }
    }
    if (held.size > 0) this.#byService.set(service, held);
    else this.#byService.delete(service);
    return { deletions, additions, disputed };
  }

  /** What a Service has now. */
  of(service: string): Iterable<Wanted> {
    return this.#byService.get(service)?.values() ?? [];
  }

  /** Everything, to fill an empty table. */
  all(): Wanted[] {
    return [...this.#slots.values()];
  }

  #drop(key: string, service: string, deletions: Wanted[]): void {
    const slot = this.#slots.get(key);
    if (!slot) return;
    slot.wanters.delete(service);
    if (slot.wanters.size > 0) return;
    this.#slots.delete(key);
    deletions.push(slot);
  }
}

function slotKey({ set, element }: Wanted): string {
  const [first, last] = [element.key, element.keyEnd ?? []].map((key) => Buffer.from(key).toString("hex"));
  return `${set}/${first}/${last}`;
}

function sameValue(one: NftElement, other: NftElement): boolean {
  return (
    Buffer.compare(one.value ?? Buffer.alloc(0), other.value ?? Buffer.alloc(0)) === 0 &&
    JSON.stringify(one.verdict) === JSON.stringify(other.verdict)
  );
}

/** Elements grouped by set, as one kind of change. */
export function changesOf(op: NftChange["op"], wanted: readonly Wanted[]): NftChange[] {
  const bySet = Map.groupBy(wanted, ({ set }) => set);
  return [...bySet].map(([set, list]) => ({ op, set, elements: list.map(({ element }) => element) }));
}
