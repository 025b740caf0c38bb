import { alreadyExists, notFound } from "../../base/index.ts";
import type { NftChange, NftElement, NftFamily, NftHost } from "./types.ts";

/** nftables in memory: keeps the text that was loaded and the elements of each set, with the kernel's all-or-nothing. For tests. */
export class FakeNft implements NftHost {
  /** Rulesets loaded, in order. */
  readonly rulesets: string[] = [];
  /** Those loaded into other network namespaces. */
  readonly inside: Array<{ netns: string; ruleset: string }> = [];
  /** Elements by `family/table/set`, then by key in hex. */
  sets = new Map<string, Map<string, NftElement>>();
  readonly #tables = new Set<string>();

  load(ruleset: string, _signal?: AbortSignal, netns?: string): Promise<void> {
    if (netns !== undefined) {
      this.inside.push({ netns, ruleset });
      return Promise.resolve();
    }
    this.rulesets.push(ruleset);
    for (const [, word, family, table] of ruleset.matchAll(/^(delete table|table) (\w+) (\S+)/gm)) {
      if (word === "delete table") this.deleteTable(family as NftFamily, table!);
      else this.#tables.add(`${family}/${table}`);
    }
    return Promise.resolve();
  }

  change(family: NftFamily, table: string, changes: readonly NftChange[]): void {
    if (!this.#tables.has(`${family}/${table}`)) throw notFound(`no table ${family} ${table}`);
    const next = new Map(this.sets);
    for (const { op, set, elements } of changes) {
      const name = `${family}/${table}/${set}`;
      const content = new Map(next.get(name));
      for (const element of elements) applyElement(content, op, element);
      next.set(name, content);
    }
    this.sets = next;
  }

  tables(family: NftFamily): string[] {
    return [...this.#tables]
      .filter((name) => name.startsWith(`${family}/`))
      .map((name) => name.slice(family.length + 1));
  }

  deleteTable(family: NftFamily, table: string): void {
    this.#tables.delete(`${family}/${table}`);
    for (const name of this.sets.keys()) if (name.startsWith(`${family}/${table}/`)) this.sets.delete(name);
  }

  /** Elements of a set, as hex. */
  elements(family: NftFamily, table: string, set: string): string[] {
    return [...(this.sets.get(`${family}/${table}/${set}`)?.keys() ?? [])].sort();
  }
}

function applyElement(content: Map<string, NftElement>, op: "add" | "delete", element: NftElement): void {
  const key =
    Buffer.from(element.key).toString("hex") +
    Buffer.from(element.keyEnd ?? []).toString("hex") +
    (element.intervalEnd ? "-end" : "");
  const before = content.get(key);
  if (op === "delete") {
    if (!before) throw notFound(`no element ${key}`);
    content.delete(key);
    return;
  }
  const value = (one: NftElement) => Buffer.from(one.value ?? []).toString("hex") + JSON.stringify(one.verdict ?? null);
  if (before && value(before) !== value(element)) throw alreadyExists(`element ${key} has another value`);
  content.set(key, element);
}
