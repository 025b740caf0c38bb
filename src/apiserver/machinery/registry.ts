import type { Kind } from "./kind.ts";
import type { Endpoint } from "./pipeline.ts";
import type { ForeignDocuments, KindRegistry } from "./options.ts";

/** Every resource and endpoint that is served now. `generation` counts changes, for what is derived (discovery, OpenAPI). */
export class Registry implements KindRegistry {
  readonly #kinds = new Map<string, Kind>();
  readonly #endpoints = new Map<string, Endpoint>();
  /** By `group/version`. */
  readonly foreign = new Map<string, ForeignDocuments>();
  generation = 0;

  add(kinds: readonly Kind[]): void {
    for (const kind of kinds) this.#kinds.set(`${kind.group}/${kind.version}/${kind.plural}`, kind);
    this.generation++;
  }
  remove(group: string, version: string, plural: string): void {
    if (this.#kinds.delete(`${group}/${version}/${plural}`)) this.generation++;
  }
  find(group: string, version: string, plural: string): Kind | undefined {
    return this.#kinds.get(`${group}/${version}/${plural}`);
  }
  all(): readonly Kind[] {
    return [...this.#kinds.values()];
  }
  addEndpoints(endpoints: readonly Endpoint[]): void {
    for (const endpoint of endpoints) {
      const { group, version, resource, subresource } = endpoint;
      this.#endpoints.set(`${group}/${version}/${resource}/${subresource}`, endpoint);
    }
    this.generation++;
  }
  setEndpointsOf(group: string, version: string, endpoints: readonly Endpoint[], documents?: ForeignDocuments): void {
    const key = `${group}/${version}`;
    const hash = this.foreign.get(key)?.hash;
    if (documents) this.foreign.set(key, documents);
    else this.foreign.delete(key);
    const names = (all: Iterable<Endpoint>) => JSON.stringify([...all]);
    const old = [...this.#endpoints.values()].filter((one) => one.group === group && one.version === version);
    for (const one of old) this.#endpoints.delete(`${key}/${one.resource}/${one.subresource}`);
    const { generation } = this;
    this.addEndpoints(endpoints);
    // Asked every few seconds; what is derived is only made anew when something is different.
    if (names(old) === names(endpoints) && hash === documents?.hash) this.generation = generation;
  }
  endpoint(group: string, version: string, resource: string, subresource: string): Endpoint | undefined {
    return this.#endpoints.get(`${group}/${version}/${resource}/${subresource}`);
  }
  endpoints(): readonly Endpoint[] {
    return [...this.#endpoints.values()];
  }
}

export const apiVersionOf = ({ group, version }: { group: string; version: string }) =>
  group === "" ? version : `${group}/${version}`;
