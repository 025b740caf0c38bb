import type { k8s } from "../../../api/index.ts";
import type { FieldError } from "../../machinery/kind.ts";
import { isDns1123Label, isDns1123Subdomain } from "../shared/names.ts";
import type { NameCheck } from "../shared/names.ts";
import { validateConfigs, validateProperties, validateQualifiedName } from "./properties.ts";
import { duplicate, forbidden, invalid, oneOf, required, tooLong, tooMany } from "../shared/field-errors.ts";

/** Dynamic resource allocation. https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/ */
const MAX_REQUESTS = 32;
const MAX_SELECTORS = 32;
const MAX_CONSTRAINTS = 32;
const MAX_ALTERNATIVES = 8;
const MAX_DEVICES = 128;
const MAX_DRIVER_BYTES = 63;

type Exact = k8s.ExactDeviceRequest | k8s.DeviceSubRequest;

/** One device of the class, when nothing else is said. */
export function defaultClaim(spec: k8s.ResourceClaimSpec | undefined): void {
  for (const { exactly, firstAvailable = [] } of spec?.devices?.requests ?? [])
    for (const each of [...(exactly === undefined ? [] : [exactly]), ...firstAvailable] as Exact[]) {
      each.allocationMode ??= "ExactCount";
      if (each.allocationMode === "ExactCount") each.count ??= 1;
    }
}

export function validateClaimSpec(spec: k8s.ResourceClaimSpec | undefined, at: string): FieldError[] {
  const { requests = [], constraints = [], config = [] } = spec?.devices ?? {};
  const names = new Set(
    requests.flatMap(({ name, firstAvailable = [] }) => [
      name,
      ...firstAvailable.map((each) => `${name}/${each.name}`),
    ]),
  );
  return [
    ...atMost(`${at}.devices.requests`, requests.length, MAX_REQUESTS),
    ...requests.flatMap((each, index) => validateRequest(each, `${at}.devices.requests[${index}]`)),
    ...doubled(requests, `${at}.devices.requests`),
    ...atMost(`${at}.devices.constraints`, constraints.length, MAX_CONSTRAINTS),
    ...constraints.flatMap((each, index) => validateConstraint(each, names, `${at}.devices.constraints[${index}]`)),
    ...validateConfigs(config, names, `${at}.devices.config`),
  ];
}

export function validateClassSpec(spec: k8s.DeviceClassSpec | undefined): FieldError[] {
  return [
    ...validateSelectors(spec?.selectors ?? [], "spec.selectors"),
    ...validateConfigs(spec?.config ?? [], undefined, "spec.config"),
  ];
}

export function validateSliceSpec(spec: k8s.ResourceSliceSpec | undefined): FieldError[] {
  if (spec === undefined) return [required("spec")];
  const { driver, pool, devices = [], nodeName, nodeSelector, allNodes, perDeviceNodeSelection } = spec;
  const places = [nodeName, nodeSelector, allNodes || undefined, perDeviceNodeSelection || undefined];
  const chosen = places.filter((place) => place !== undefined && place !== "").length;
  const choice = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
  const errors = [...validateDriver(driver, "spec.driver")];
  if (!pool?.name) errors.push(required("spec.pool.name"));
  if ((pool?.resourceSliceCount ?? 0) <= 0)
    errors.push(invalid("spec.pool.resourceSliceCount", pool?.resourceSliceCount ?? 0, "must be greater than zero"));
  if ((pool?.generation ?? 0) < 0)
    errors.push(invalid("spec.pool.generation", pool.generation, "must be greater than or equal to zero"));
  if (chosen === 0) errors.push(required("spec", choice));
  if (chosen > 1) errors.push(invalid("spec", "{...}", `${choice}, but multiple fields are set`));
  errors.push(...atMost("spec.devices", devices.length, MAX_DEVICES), ...doubled(devices, "spec.devices"));
  for (const [index, device] of devices.entries()) {
    const at = `spec.devices[${index}]`;
    errors.push(...validateLabel(device.name, `${at}.name`), ...validateProperties(device, at));
  }
  return errors;
}

function validateRequest({ name, exactly, firstAvailable = [] }: k8s.DeviceRequest, at: string): FieldError[] {
  const choice = "exactly one of `exactly` or `firstAvailable` is required";
  const errors = validateLabel(name, `${at}.name`);
  if (exactly === undefined && firstAvailable.length === 0) errors.push(required(at, choice));
  if (exactly !== undefined && firstAvailable.length > 0)
    errors.push(invalid(at, null, `${choice}, but multiple fields are set`));
  if (exactly !== undefined) errors.push(...validateExact(exactly, `${at}.exactly`));
  errors.push(...atMost(`${at}.firstAvailable`, firstAvailable.length, MAX_ALTERNATIVES));
  for (const [index, each] of firstAvailable.entries()) {
    const here = `${at}.firstAvailable[${index}]`;
    errors.push(...validateLabel(each.name, `${here}.name`), ...validateExact(each, here));
  }
  return [...errors, ...doubled(firstAvailable, `${at}.firstAvailable`)];
}

function validateExact({ deviceClassName, allocationMode, count, selectors = [] }: Exact, at: string): FieldError[] {
  const errors: FieldError[] = [];
  if (!deviceClassName) errors.push(required(`${at}.deviceClassName`));
  else errors.push(...wrongName(isDns1123Subdomain, `${at}.deviceClassName`, deviceClassName));
  errors.push(...validateSelectors(selectors, `${at}.selectors`));
  if (allocationMode === "All" && (count ?? 0) !== 0)
    errors.push(invalid(`${at}.count`, count, "must not be specified when allocationMode is 'All'"));
  else if (allocationMode === "ExactCount" && (count ?? 0) <= 0)
    errors.push(invalid(`${at}.count`, count ?? 0, "must be greater than zero"));
  else errors.push(...oneOf(`${at}.allocationMode`, allocationMode, ["All", "ExactCount"]));
  return errors;
}

function validateSelectors(selectors: readonly k8s.DeviceSelector[], at: string): FieldError[] {
  const errors = atMost(at, selectors.length, MAX_SELECTORS);
  for (const [index, { cel }] of selectors.entries()) {
    if (cel === undefined) errors.push(required(`${at}[${index}].cel`));
    else if (!cel.expression) errors.push(required(`${at}[${index}].cel.expression`));
  }
  return errors;
}

function validateConstraint(
  { requests = [], matchAttribute, distinctAttribute }: k8s.DeviceConstraint,
  names: ReadonlySet<string>,
  at: string,
): FieldError[] {
  const errors = requests.flatMap((name, index) =>
    names.has(name)
      ? []
      : [
          invalid(
            `${at}.requests[${index}]`,
            name,
            "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'",
          ),
        ],
  );
  if (matchAttribute === undefined && distinctAttribute === undefined) errors.push(required(`${at}.matchAttribute`));
  if (matchAttribute !== undefined) errors.push(...validateQualifiedName(matchAttribute, `${at}.matchAttribute`, true));
  if (matchAttribute !== undefined && distinctAttribute !== undefined)
    errors.push(
      forbidden(`${at}.distinctAttribute`, "only one of `matchAttribute` and `distinctAttribute` may be set"),
    );
  return errors;
}

function validateDriver(driver: string | undefined, at: string): FieldError[] {
  if (!driver) return [required(at)];
  if (Buffer.byteLength(driver) > MAX_DRIVER_BYTES) return [tooLong(at, MAX_DRIVER_BYTES)];
  return wrongName(isDns1123Subdomain, at, driver);
}

function validateLabel(name: string | undefined, at: string): FieldError[] {
  return name ? wrongName(isDns1123Label, at, name) : [required(at)];
}

const wrongName = (check: NameCheck, at: string, name: string): FieldError[] =>
  check(name).map((detail) => invalid(at, name, detail));

const atMost = (at: string, count: number, most: number): FieldError[] =>
  count > most ? [tooMany(at, count, most)] : [];

function doubled(items: readonly { name: string }[], at: string): FieldError[] {
  return items.flatMap(({ name }, index) =>
    items.findIndex((other) => other.name === name) < index ? [duplicate(`${at}[${index}].name`, name)] : [],
  );
}
