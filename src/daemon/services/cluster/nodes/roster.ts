import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import { resourceExhausted } from "../../../../base/index.ts";
import { MAX_LOCAL_NODES } from "../../../../node/index.ts";
import type { MachineSize } from "./node-machine.ts";

/** A node of this instance. The machine itself has index 1. */
export interface RosterEntry {
  readonly index: number;
  readonly name: string;
  /** Switched off by `berth node stop`. */
  readonly stopped: boolean;
  /** In another process: one that its user starts, or berth in a virtual machine of this size. Left out: in this process. */
  readonly elsewhere?: Elsewhere;
}

export type Elsewhere = { readonly kind: "process" } | { readonly kind: "machine"; readonly size: MachineSize };

/** Which nodes the instance has, beside its data: what is there at the next start. */
export class Roster {
  readonly #file: string;
  readonly #machine: string;
  #entries: readonly RosterEntry[];

  constructor(folder: string, machine: string) {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    this.#file = path.join(folder, "nodes.json");
    this.#machine = machine;
    this.#entries = this.#read();
  }

  /** By index; the first is the machine itself. */
  entries(): readonly RosterEntry[] {
    return this.#entries;
  }

  find(name: string): RosterEntry | undefined {
    return this.#entries.find((entry) => entry.name === name);
  }

  /** The lowest free number. Throws resourceExhausted. */
  add(elsewhere?: Elsewhere): RosterEntry {
    const taken = new Set(this.#entries.map(({ index }) => index));
    for (let index = 2; index <= MAX_LOCAL_NODES; index++) {
      if (taken.has(index)) continue;
      const entry = { index, name: `${this.#machine}-${index}`, stopped: false, ...(elsewhere && { elsewhere }) };
      this.#write([...this.#entries, entry].sort((one, other) => one.index - other.index));
      return entry;
    }
    throw resourceExhausted(`there are ${MAX_LOCAL_NODES} nodes already, as many as a machine may have`, {
      hint: "berth node remove, or berth up --simulated-nodes for clusters at size",
    });
  }

  remove(name: string): void {
    this.#write(this.#entries.filter((entry) => entry.name !== name));
  }

  mark(name: string, stopped: boolean): void {
    this.#write(this.#entries.map((entry) => (entry.name === name ? { ...entry, stopped } : entry)));
  }

  #read(): readonly RosterEntry[] {
    try {
      return JSON.parse(readFileSync(this.#file, "utf8")) as RosterEntry[];
    } catch {
      return [{ index: 1, name: this.#machine, stopped: false }];
    }
  }

  #write(entries: readonly RosterEntry[]): void {
    writeFileSync(`${this.#file}.new`, `${JSON.stringify(entries)}\n`, { mode: 0o600 });
    renameSync(`${this.#file}.new`, this.#file);
    this.#entries = entries;
  }
}
