import { decodeName, invalidArgument } from "../base/index.ts";

/** Docker's `filters` parameter: a name to its values. */
export type Filters = ReadonlyMap<string, readonly string[]>;

/** A request's query, read as Docker's daemon reads it. Every reader throws invalidArgument naming the parameter. */
export class Query {
  readonly #search: string;
  readonly #values: URLSearchParams;

  /** As it stands in the URL. */
  constructor(search: string) {
    this.#search = search;
    this.#values = new URLSearchParams(search);
  }
  has(name: string): boolean {
    return this.#values.has(name);
  }
  /** The first value; undefined when absent. */
  text(name: string): string | undefined {
    return this.#values.get(name) ?? undefined;
  }
  all(name: string): string[] {
    return this.#values.getAll(name);
  }
  required(name: string): string {
    const value = this.text(name);
    if (!value) throw invalidArgument(`query parameter "${name}" is required`);
    return value;
  }
  /** A path of any bytes, as `decodeName` (base) writes it. */
  fileName(name: string): string {
    const text = this.required(name);
    if (!text.includes("\uFFFD")) return text;
    const pair = this.#search.split(/[?&]/).find((part) => part.startsWith(`${name}=`)) ?? "";
    const written = pair.slice(name.length + 1).replaceAll("+", " ");
    const bytes = written.replace(/%([0-9a-f]{2})/gi, (_, hex: string) =>
      String.fromCharCode(Number.parseInt(hex, 16)),
    );
    return decodeName(Buffer.from(bytes, "latin1"));
  }
  /** As moby's httputils.BoolValue: empty, `0`, `no`, `false` and `none` are false, everything else is true. */
  bool(name: string, absent = false): boolean {
    const value = this.text(name);
    if (value === undefined) return absent;
    return !["", "0", "no", "false", "none"].includes(value.trim().toLowerCase());
  }
  int(name: string): number | undefined {
    const value = this.text(name);
    if (value === undefined || value === "") return undefined;
    if (!/^[+-]?\d{1,15}$/.test(value)) {
      throw invalidArgument(`invalid value "${value}" for query parameter "${name}": not a whole number`);
    }
    return Number(value);
  }
  /** A JSON value (buildargs, labels, changes). */
  json<T>(name: string): T | undefined {
    const value = this.text(name);
    if (value === undefined || value === "") return undefined;
    try {
      return JSON.parse(value) as T;
    } catch (error) {
      throw invalidArgument(`invalid value for query parameter "${name}": not JSON`, { cause: error });
    }
  }
  /** `filters`: `{"name":["a"]}` or, as old clients write it, `{"name":{"a":true}}`. Names outside `known` are refused as Docker does. */
  filters(known: readonly string[]): Filters {
    const parsed = this.json<unknown>("filters") ?? {};
    if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed))
      throw invalidArgument("invalid filters: not an object");
    const result = new Map<string, string[]>();
    for (const [name, values] of Object.entries(parsed)) {
      if (!known.includes(name)) throw invalidArgument(`invalid filter '${name}'`);
      result.set(name, filterValues(name, values));
    }
    return result;
  }
}

function filterValues(name: string, values: unknown): string[] {
  if (Array.isArray(values) && values.every((value) => typeof value === "string")) return values;
  if (typeof values === "object" && values !== null && !Array.isArray(values)) {
    return Object.entries(values).flatMap(([value, on]) => (on === true ? [value] : []));
  }
  throw invalidArgument(`invalid filter '${name}': a list of texts is expected`);
}
