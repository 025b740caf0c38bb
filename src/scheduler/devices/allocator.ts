import type { k8s } from "../../api/index.ts";
import { MatchAttribute } from "./constraints.ts";
import type { Candidate, Pool } from "./pools.ts";
import { allocationOf } from "./result.ts";
import type { SelectDevice } from "./selectors.ts";

/** A claim has at most so many devices. */
const MAX_RESULTS = 32;
/** Tries for one node; upstream gives up after ten seconds. */
const MAX_TRIES = 200_000;

export interface AllocatorOptions {
  readonly pools: readonly Pool[];
  readonly classes: (name: string) => k8s.DeviceClass | undefined;
  readonly select: SelectDevice;
  /** Ids of devices that claims have for themselves. */
  readonly taken: ReadonlySet<string>;
}

/** A request, or one of the alternatives of a request, ready to be tried. */
export interface Wanted {
  /** `name`, or `name/subrequest`. */
  readonly request: string;
  readonly class: k8s.DeviceClass;
  readonly count: number;
  readonly adminAccess: boolean;
  readonly selectors: readonly k8s.DeviceSelector[];
  /** With allocation mode All: these, every one of them. */
  readonly all?: readonly Candidate[];
}

export interface Chosen {
  readonly wanted: Wanted;
  readonly candidate: Candidate;
}

/** A search that took too long. */
export class TooManyTries extends Error {
  constructor() {
    super("timed out trying to allocate devices");
  }
}

/**
 * Finds devices of a node for all requests of some claims, or undefined when there is no way. An exhaustive search that takes the first
 * solution, as upstream's. Throws what is wrong with a claim, a class or a pool.
 */
export function allocate(
  claims: readonly k8s.ResourceClaim[],
  options: AllocatorOptions,
): k8s.AllocationResult[] | undefined {
  const chosen = new Search(claims, options).run();
  return chosen?.map((devices, at) => allocationOf(claims[at]!, devices));
}

class Search {
  readonly #options: AllocatorOptions;
  /** For each claim and request, the alternatives in their order. */
  readonly #wanted: readonly (readonly Wanted[])[][];
  readonly #constraints: readonly (readonly MatchAttribute[])[];
  readonly #chosen: Chosen[][];
  readonly #inUse = new Map<string, Set<number>>();
  readonly #names: readonly string[];
  #tries = 0;

  constructor(claims: readonly k8s.ResourceClaim[], options: AllocatorOptions) {
    this.#options = options;
    this.#names = claims.map(({ metadata }) => `${metadata?.namespace}/${metadata?.name}`);
    this.#wanted = claims.map(({ spec }, at) =>
      (spec.devices?.requests ?? []).map((request) => this.#alternatives(request, this.#names[at]!)),
    );
    this.#constraints = claims.map(({ spec }) =>
      (spec.devices?.constraints ?? []).map((constraint) => new MatchAttribute(constraint)),
    );
    this.#chosen = claims.map(() => []);
  }

  run(): readonly (readonly Chosen[])[] | undefined {
    return this.#request(0, 0) ? this.#chosen : undefined;
  }

  #alternatives(request: k8s.DeviceRequest, claim: string): Wanted[] {
    const { name, exactly, firstAvailable = [] } = request;
    if (exactly !== undefined) return [this.#want(name, exactly, claim, exactly.adminAccess === true)];
    return firstAvailable.map((one) => this.#want(`${name}/${one.name}`, one, claim, false));
  }

  #want(
    request: string,
    given: k8s.ExactDeviceRequest | k8s.DeviceSubRequest,
    claim: string,
    adminAccess: boolean,
  ): Wanted {
    const { deviceClassName, selectors: own = [], allocationMode, count = 1 } = given;
    const found = this.#options.classes(deviceClassName);
    if (found === undefined)
      throw new Error(`claim ${claim}, request ${request}: could not retrieve device class ${deviceClassName}`);
    const selectors = [...(found.spec?.selectors ?? []), ...own];
    const wanted = { request, class: found, count, adminAccess, selectors };
    if (allocationMode !== "All") return wanted;
    const all = this.#options.pools.flatMap(({ name, devices, isIncomplete, invalid }) => {
      if (isIncomplete || invalid !== undefined)
        throw new Error(
          `claim ${claim}, request ${request}: asks for all devices, but resource pool ${name} is currently ${isIncomplete ? "being updated" : "invalid"}`,
        );
      return devices.filter((candidate) => this.#options.select(candidate, selectors));
    });
    return { ...wanted, all, count: all.length };
  }

  /** Everything from this request of this claim on. */
  #request(claim: number, at: number): boolean {
    const requests = this.#wanted[claim];
    if (requests === undefined) return true;
    const alternatives = requests[at];
    if (alternatives === undefined) return this.#request(claim + 1, 0);
    return alternatives.some((wanted) => {
      const isEmpty = wanted.all?.length === 0;
      if (isEmpty || this.#chosen[claim]!.length + wanted.count > MAX_RESULTS) return false;
      return this.#device(claim, at, wanted, 0);
    });
  }

  /** The devices of a request from this one on, and everything after it. */
  #device(claim: number, at: number, wanted: Wanted, index: number): boolean {
    if (++this.#tries > MAX_TRIES) throw new TooManyTries();
    if (index === wanted.count) return this.#request(claim, at + 1);
    const next = (candidate: Candidate) =>
      this.#take(claim, wanted, candidate, () => this.#device(claim, at, wanted, index + 1));
    if (wanted.all !== undefined) return next(wanted.all[index]!);
    for (const { name, devices, invalid } of this.#options.pools) {
      if (invalid !== undefined) throw new Error(`pool ${name} is invalid: ${invalid}`);
      for (const candidate of devices)
        if (
          this.#isFree(claim, wanted, candidate) &&
          this.#options.select(candidate, wanted.selectors) &&
          next(candidate)
        )
          return true;
    }
    return false;
  }

  /** Administrators see devices that others use, each once in a claim. */
  #isFree(claim: number, { adminAccess }: Wanted, { id }: Candidate): boolean {
    const users = this.#inUse.get(id);
    if (adminAccess) return users?.has(claim) !== true;
    return !this.#options.taken.has(id) && users === undefined;
  }

  #take(claim: number, wanted: Wanted, candidate: Candidate, rest: () => boolean): boolean {
    if (!this.#isFree(claim, wanted, candidate)) return false;
    const constraints = this.#constraints[claim]!;
    const refusing = constraints.findIndex((constraint) => !constraint.add(wanted.request, candidate));
    const added = refusing < 0 ? constraints : constraints.slice(0, refusing);
    const undo = () => added.forEach((constraint) => constraint.remove(wanted.request));
    if (refusing >= 0) {
      undo();
      return false;
    }
    const users = this.#inUse.get(candidate.id) ?? new Set();
    this.#inUse.set(candidate.id, users.add(claim));
    this.#chosen[claim]!.push({ wanted, candidate });
    if (rest()) return true;
    this.#chosen[claim]!.pop();
    users.delete(claim);
    if (users.size === 0) this.#inUse.delete(candidate.id);
    undo();
    return false;
  }
}
