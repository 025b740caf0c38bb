/**
 * nftables. Structure (tables, chains, rules, empty sets) is written as text and loaded by nft(8) in one transaction: readable, testable with golden
 * files, and rare. What changes with every container, port and endpoint are elements of sets and maps, which go to the kernel directly over
 * nfnetlink: well under a millisecond, against 19 for a process (docs/adr/0005).
 */
export type NftFamily = "inet" | "ip" | "ip6" | "bridge";

export interface NftElement {
  /** The bytes of the key: each part of a concatenation padded to 4 bytes (see `nftKey`). */
  readonly key: Uint8Array;
  /** For interval sets of concatenations: the last key of the range (inclusive), of which `key` is the first. */
  readonly keyEnd?: Uint8Array;
  /** For maps: the bytes of the value. */
  readonly value?: Uint8Array;
  /** For verdict maps: where to go. */
  readonly verdict?:
    | { readonly kind: "goto" | "jump"; readonly chain: string }
    | { readonly kind: "drop" | "accept" | "return" };
  /** Marks the end of an interval (exclusive) in an interval set. */
  readonly intervalEnd?: boolean;
}

export interface NftChange {
  readonly op: "add" | "delete";
  readonly set: string;
  readonly elements: readonly NftElement[];
}

export interface NftHost {
  /** Loads a ruleset in one transaction, into the network namespace pinned at `netns` or our own. Throws internal with nft's own message. */
  load(ruleset: string, signal?: AbortSignal, netns?: string): Promise<void>;
  /**
   * Adds and deletes elements of one table's sets in one transaction: all or nothing. An element that is added twice with the same value is no error;
   * deleting one that is not there throws notFound.
   */
  change(family: NftFamily, table: string, changes: readonly NftChange[]): void;
  /** Names of the tables of a family. */
  tables(family: NftFamily): string[];
  /** No error when there is none. */
  deleteTable(family: NftFamily, table: string): void;
}
