import { hasCode, kernelName } from "../../base/index.ts";
import type { NftChange, NftHost } from "../../host/index.ts";
import { ruleset } from "./ruleset.ts";

/** The instance's nftables table. */
export class NetworkTable {
  readonly #nft: NftHost;
  readonly #name: string;

  constructor(instance: string, nft: NftHost) {
    this.#nft = nft;
    this.#name = kernelName(instance);
  }

  /** Loads the table anew, with empty sets. Connections that are under way keep their translation: conntrack holds it. */
  load(): Promise<void> {
    return this.#nft.load(ruleset(this.#name));
  }

  /** Deleting what is not there is what was wanted; then the changes are made one by one, so that the others still happen. */
  change(changes: readonly NftChange[]): void {
    try {
      this.#nft.change("inet", this.#name, changes);
    } catch (error) {
      if (!hasCode(error, "notFound")) throw error;
      for (const change of changes) {
        try {
          this.#nft.change("inet", this.#name, [change]);
        } catch (single) {
          if (!hasCode(single, "notFound") || change.op === "add") throw single;
        }
      }
    }
  }

  remove(): void {
    this.#nft.deleteTable("inet", this.#name);
  }
}
