import type { Conversion, Strategy } from "../../machinery/kind.ts";
import type { NameCheck } from "./names.ts";

/** What one kind states about itself; kinds.ts makes the Kind of it together with the facts table. */
export interface Peculiarities extends Omit<Strategy, "hasStatus"> {
  /** DNS subdomains unless said otherwise. */
  readonly checkName?: NameCheck;
  readonly shortNames?: readonly string[];
  readonly categories?: readonly string[];
  /** The plural less its ending unless said otherwise. */
  readonly singular?: string;
  readonly storedAs?: string;
  /** Whether what is created keeps the status it comes with. */
  readonly bringsStatus?: boolean;
  readonly conversion?: Conversion;
}

/** By plural, one table per API group and version. */
export type GroupKinds = Readonly<Record<string, Peculiarities>>;
