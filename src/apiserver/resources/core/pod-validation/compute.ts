import type { k8s } from "../../../../api/index.ts";
import type { FieldError } from "../../../machinery/kind.ts";
import { each, eachEntry, nano, validateQuantity } from "../../shared/checks.ts";
import { duplicate, forbidden, invalid, notFound, notSupported, required } from "../../shared/field-errors.ts";
import { isQualifiedName } from "../../shared/names.ts";

/** Requests and limits: names and sizes of what containers ask for. */

const standardForContainers = /^(cpu|memory|ephemeral-storage|hugepages-.*)$/;
const standard =
  /^(cpu|memory|ephemeral-storage|hugepages-.*|storage|pods|services|replicationcontrollers|resourcequotas|secrets|configmaps|persistentvolumeclaims|(requests|limits)\..*|services\.(nodeports|loadbalancers)|count\/.*)$/;
const whole =
  /^(pods|services|replicationcontrollers|resourcequotas|secrets|configmaps|persistentvolumeclaims|services\.(nodeports|loadbalancers))$/;

/** Without a domain, or of kubernetes.io itself. */
const isNative = (name: string): boolean => !name.includes("/") || name.includes("kubernetes.io/");
const isHugePages = (name: string): boolean => name.startsWith("hugepages-");
/** Devices and huge pages: a request must be the limit. */
const mayOvercommit = (name: string): boolean => isNative(name) && !isHugePages(name);

export function validateResourceName(name: string, at: string): FieldError[] {
  const errors = isQualifiedName(name).map((detail) => invalid(at, name, detail));
  if (errors.length > 0 || name.includes("/") || standard.test(name)) return errors;
  return [invalid(at, name, "must be a standard resource type or fully qualified")];
}

export function validateContainerResourceName(name: string, at: string): FieldError[] {
  const errors = validateResourceName(name, at);
  if (!name.includes("/")) {
    if (!standardForContainers.test(name)) errors.push(invalid(at, name, "must be a standard resource for containers"));
  } else if (!isNative(name) && (name.startsWith("requests.") || isQualifiedName(`requests.${name}`).length > 0)) {
    errors.push(invalid(at, name, "doesn't follow extended resource name standard"));
  }
  return errors;
}

export function validateResourceQuantity(name: string, quantity: string, at: string): FieldError[] {
  const errors = validateQuantity(at, quantity);
  const countable = whole.test(name) || (!isNative(name) && name.includes("/"));
  if (countable && (nano(quantity) ?? 0n) % 1_000_000_000n !== 0n)
    errors.push(invalid(at, quantity, "must be an integer"));
  return errors;
}

function validateHugePages(name: string, quantity: string, at: string): FieldError[] {
  if (!isHugePages(name)) return [];
  const page = nano(name.slice("hugepages-".length)) ?? 0n;
  if (page > 0n && (nano(quantity) ?? 0n) % page === 0n) return [];
  return [invalid(at, quantity, `${quantity} is not positive integer multiple of ${name}`)];
}

const validateOne = (quantity: string, at: string, name: string): FieldError[] => [
  ...validateContainerResourceName(name, at),
  ...validateResourceQuantity(name, quantity, at),
  ...validateHugePages(name, quantity, at),
];

/** Upstream's ValidateResourceRequirements. `claims` are the names that the Pod's spec lists. */
export function validateRequirements(
  resources: k8s.ResourceRequirements | undefined,
  at: string,
  claims: ReadonlySet<string> = new Set(),
): FieldError[] {
  const { limits = {}, requests = {} } = resources ?? {};
  const errors = [
    ...eachEntry(limits, `${at}.limits`, validateOne),
    ...eachEntry(requests, `${at}.requests`, (quantity, here, name) => [
      ...validateOne(quantity, here, name),
      ...validateAgainstLimit(name, quantity, limits[name], at),
    ]),
  ];
  const names = [...Object.keys(limits), ...Object.keys(requests)];
  if (names.some(isHugePages) && !names.includes("cpu") && !names.includes("memory"))
    errors.push(forbidden(at, "HugePages require cpu or memory"));
  return [...errors, ...validateClaimNames(resources?.claims, `${at}.claims`, claims)];
}

function validateAgainstLimit(name: string, request: string, limit: string | undefined, at: string): FieldError[] {
  if (limit === undefined)
    return mayOvercommit(name) ? [] : [required(`${at}.limits`, "Limit must be set for non overcommitable resources")];
  const wanted = nano(request);
  const most = nano(limit);
  if (wanted === undefined || most === undefined) return [];
  if (wanted !== most && !mayOvercommit(name))
    return [invalid(`${at}.requests`, request, `must be equal to ${name} limit of ${limit}`)];
  if (wanted > most)
    return [invalid(`${at}.requests`, request, `must be less than or equal to ${name} limit of ${limit}`)];
  return [];
}

function validateClaimNames(
  given: readonly k8s.CoreResourceClaim[] | undefined,
  at: string,
  known: ReadonlySet<string>,
): FieldError[] {
  const seen = new Set<string>();
  return each(given, at, ({ name }, here) => {
    if (!name) return [required(here)];
    const errors = seen.has(name) ? [duplicate(here, name)] : [];
    seen.add(name);
    if (known.has(name)) return errors;
    const names = known.size === 0 ? " which is empty" : `: ${[...known].toSorted().join(", ")}`;
    const error = notFound(here, name);
    return [
      ...errors,
      { ...error, detail: `${error.detail}: must be one of the names in pod.spec.resourceClaims${names}` },
    ];
  });
}

/** How a change of size is carried out. Upstream's words name the list. */
export function validateResizePolicy(
  policies: readonly k8s.ContainerResizePolicy[] | undefined,
  at: string,
  podRestartPolicy: string | undefined,
): FieldError[] {
  const seen = new Set<string>();
  return each(policies, at, ({ resourceName, restartPolicy }, here) => {
    const errors = seen.has(resourceName) ? [duplicate(here, resourceName)] : [];
    seen.add(resourceName);
    if (!resourceName) errors.push(required(at));
    else if (resourceName !== "cpu" && resourceName !== "memory")
      errors.push(notSupported(at, resourceName, ["cpu", "memory"]));
    if (!restartPolicy) errors.push(required(at));
    else if (restartPolicy !== "NotRequired" && restartPolicy !== "RestartContainer")
      errors.push(notSupported(at, restartPolicy, ["NotRequired", "RestartContainer"]));
    if (podRestartPolicy === "Never" && restartPolicy !== "NotRequired")
      errors.push(invalid(at, restartPolicy, "must be 'NotRequired' when `restartPolicy` is 'Never'"));
    return errors;
  });
}
