import type { k8s } from "../api/index.ts";
import { Quantity } from "./libraries/quantity.ts";
import { Semver } from "./libraries/semver.ts";
import { dyn, mapOf, objectOf, parseType, string } from "./types.ts";
import type { CelType } from "./types.ts";

/** What a selector of devices may cost, by estimate and when it runs. */
export const MAX_SELECTOR_COST = 1_000_000;

const DOMAIN_LENGTH = 63;
const ID_LENGTH = 32;
const VALUE_LENGTH = 64;
const MAX_PROPERTIES = 32;
const text = (maxElements: number): CelType => ({ ...string, maxElements, minSerializedSize: 2 });
const byDomain = (value: CelType): CelType =>
  mapOf(text(DOMAIN_LENGTH), mapOf(text(ID_LENGTH), value, MAX_PROPERTIES), MAX_PROPERTIES);

/** What selectors of devices may speak of (https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/). */
export const deviceVariables: Readonly<Record<string, CelType>> = {
  device: objectOf("kubernetes.DRADevice", {
    driver: text(DOMAIN_LENGTH),
    attributes: byDomain({ ...dyn, maxElements: VALUE_LENGTH, minSerializedSize: 1 }),
    capacity: byDomain(parseType("kubernetes.Quantity")),
  }),
};

/** One device as the variable `device`. A domain that it knows nothing of is empty, so that selectors may ask for what is in it. */
export function deviceValue(driver: string, { attributes = {}, capacity = {} }: k8s.Device): object {
  return {
    driver,
    attributes: domains(driver, attributes, ({ int, bool, string: words, version }) =>
      int === undefined ? (bool ?? words ?? (version === undefined ? null : new Semver(version))) : BigInt(int),
    ),
    capacity: domains(driver, capacity, ({ value }) => Quantity.parse(String(value))),
  };
}

function domains<T>(driver: string, properties: Readonly<Record<string, T>>, valueOf: (given: T) => unknown): object {
  const found = new Map<string, Map<string, unknown>>();
  for (const [name, given] of Object.entries(properties)) {
    const [id = "", domain = driver] = name.split("/").toReversed();
    const there = found.get(domain) ?? new Map<string, unknown>();
    found.set(domain, there.set(id, valueOf(given)));
  }
  const get = found.get.bind(found);
  found.get = (domain) => get(domain) ?? new Map();
  return found;
}
