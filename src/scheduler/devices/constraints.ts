import type { k8s } from "../../api/index.ts";
import type { Candidate } from "./pools.ts";

/** All devices of these requests have the same value of an attribute. What is added is taken away again in the opposite order. */
export class MatchAttribute {
  readonly #attribute: string;
  readonly #requests: ReadonlySet<string>;
  readonly #values: unknown[] = [];

  constructor({ matchAttribute, requests = [] }: k8s.DeviceConstraint) {
    this.#attribute = matchAttribute!;
    this.#requests = new Set(requests);
  }

  /** Whether the device fits; it counts from then on. `request` is `name` or `name/subrequest`. */
  add(request: string, candidate: Candidate): boolean {
    if (!this.#isMeant(request)) return true;
    const value = attributeOf(candidate, this.#attribute);
    if (value === undefined || (this.#values.length > 0 && this.#values[0] !== value)) return false;
    this.#values.push(value);
    return true;
  }

  remove(request: string): void {
    if (this.#isMeant(request)) this.#values.pop();
  }

  #isMeant(request: string): boolean {
    return this.#requests.size === 0 || this.#requests.has(request) || this.#requests.has(request.split("/")[0]!);
  }
}

/** An attribute by its whole name; a driver need not say its own domain. Values of different types are different. */
function attributeOf({ driver, device: { attributes = {} } }: Candidate, name: string): string | undefined {
  const [domain, id] = name.split("/");
  const found = attributes[name] ?? (domain === driver ? attributes[id!] : undefined);
  return found && JSON.stringify(found);
}
