import type { k8s } from "../../../api/index.ts";
import type { FieldError } from "../../machinery/kind.ts";
import { forbidden, invalid, required, tooLong, tooMany } from "../shared/field-errors.ts";
import { isDns1123Subdomain } from "../shared/names.ts";

const MAX_PROPERTIES = 32;
const MAX_ID_BYTES = 32;
const MAX_DOMAIN_BYTES = 63;
const MAX_VALUE_BYTES = 64;
const MAX_CONFIGS = 32;
const MAX_PARAMETER_BYTES = 10 * 1024;
const ID = /^[a-zA-Z_][a-zA-Z0-9_]*$/;
const SEMVER = /^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z-.]+)?(\+[0-9A-Za-z-.]+)?$/;

/** What a device is like: attributes and capacities, by names that may have a domain. */
export function validateProperties({ attributes = {}, capacity = {} }: k8s.Device, at: string): FieldError[] {
  const [some, more] = [Object.entries(attributes), Object.keys(capacity)];
  const count = some.length + more.length;
  const errors: FieldError[] = [];
  if (count > MAX_PROPERTIES)
    errors.push(invalid(at, count, `the total number of attributes and capacities must not exceed ${MAX_PROPERTIES}`));
  for (const [name, value] of some) {
    const here = `${at}.attributes[${name}]`;
    errors.push(...validateQualifiedName(name, here), ...validateAttribute(value, here));
  }
  return [...errors, ...more.flatMap((name) => validateQualifiedName(name, `${at}.capacity[${name}]`))];
}

function validateAttribute(attribute: k8s.DeviceAttribute, at: string): FieldError[] {
  const { bool, int, string, version } = attribute;
  const set = [bool, int, string, version].filter((value) => value !== undefined);
  if (set.length === 0) return [required(at, "exactly one value must be specified")];
  if (set.length > 1) return [invalid(at, attribute, "exactly one value must be specified")];
  if (string !== undefined && Buffer.byteLength(string) > MAX_VALUE_BYTES)
    return [tooLong(`${at}.string`, MAX_VALUE_BYTES)];
  if (version === undefined) return [];
  if (Buffer.byteLength(version) > MAX_VALUE_BYTES) return [tooLong(`${at}.version`, MAX_VALUE_BYTES)];
  return SEMVER.test(version)
    ? []
    : [invalid(`${at}.version`, version, "must be a string compatible with semver.org spec 2.0.0")];
}

/** `id` or `domain/id`. Whoever compares attributes across drivers must say the domain. */
export function validateQualifiedName(name: string, at: string, needsDomain = false): FieldError[] {
  if (name === "") return [required(at, "name required")];
  const parts = name.split("/");
  if (parts.length > 2) return [invalid(at, name, "a qualified name must consist of an optional domain and an id")];
  if (parts.length === 1) {
    const errors = validateId(name, at);
    return needsDomain ? [...errors, invalid(at, name, "must include a domain")] : errors;
  }
  const [domain = "", id = ""] = parts;
  return [...validateDomain(domain, at), ...validateId(id, at)];
}

function validateDomain(domain: string, at: string): FieldError[] {
  if (domain === "") return [required(at, "the domain must not be empty")];
  if (Buffer.byteLength(domain) > MAX_DOMAIN_BYTES) return [tooLong(at, MAX_DOMAIN_BYTES)];
  return isDns1123Subdomain(domain).map((detail) => invalid(at, domain, detail));
}

function validateId(id: string, at: string): FieldError[] {
  if (id === "") return [required(at, "the name must not be empty")];
  if (Buffer.byteLength(id) > MAX_ID_BYTES) return [tooLong(at, MAX_ID_BYTES)];
  return ID.test(id)
    ? []
    : [
        invalid(
          at,
          id,
          `a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')`,
        ),
      ];
}

type Config = k8s.DeviceClassConfiguration & Partial<k8s.DeviceClaimConfiguration>;

/** What drivers are told beside the choice of a device. `requests`: names that a claim's configuration may speak of. */
export function validateConfigs(
  configs: readonly Config[],
  requests: ReadonlySet<string> | undefined,
  at: string,
): FieldError[] {
  const errors = configs.length > MAX_CONFIGS ? [tooMany(at, configs.length, MAX_CONFIGS)] : [];
  for (const [index, { opaque, requests: named = [] }] of configs.entries()) {
    const here = `${at}[${index}]`;
    for (const [place, name] of named.entries())
      if (requests?.has(name) === false)
        errors.push(
          invalid(
            `${here}.requests[${place}]`,
            name,
            "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'",
          ),
        );
    errors.push(...(opaque === undefined ? [required(`${here}.opaque`)] : validateOpaque(opaque, `${here}.opaque`)));
  }
  return errors;
}

function validateOpaque({ driver, parameters }: k8s.OpaqueDeviceConfiguration, at: string): FieldError[] {
  const errors = driver ? validateDomain(driver, `${at}.driver`) : [required(`${at}.driver`)];
  if (parameters === undefined) return [...errors, required(`${at}.parameters`)];
  const text = JSON.stringify(parameters);
  if (Buffer.byteLength(text) > MAX_PARAMETER_BYTES) errors.push(tooLong(`${at}.parameters`, MAX_PARAMETER_BYTES));
  if (typeof parameters !== "object" || Array.isArray(parameters))
    errors.push(invalid(`${at}.parameters`, "<value omitted>", "must be a valid JSON object"));
  return errors;
}

/** A claim's status: what only the scheduler and drivers write, and what may not change once it is there. */
export function validateClaimStatus(claim: k8s.ResourceClaim, old: k8s.ResourceClaim): FieldError[] {
  const { allocation, reservedFor = [] } = claim.status ?? {};
  const errors: FieldError[] = [];
  if (reservedFor.length > 256) errors.push(tooMany("status.reservedFor", reservedFor.length, 256));
  if (reservedFor.length > 0 && allocation === undefined)
    errors.push(forbidden("status.reservedFor", "may not be specified when `allocated` is not set"));
  const before = new Set(old.status?.reservedFor?.map(({ uid }) => uid));
  if (claim.metadata?.deletionTimestamp && reservedFor.some(({ uid }) => !before.has(uid)))
    errors.push(
      forbidden(
        "status.reservedFor",
        "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set",
      ),
    );
  for (const [index, { resource, name, uid }] of reservedFor.entries()) {
    const here = `status.reservedFor[${index}]`;
    if (!resource) errors.push(required(`${here}.resource`));
    if (!name) errors.push(required(`${here}.name`));
    if (!uid) errors.push(required(`${here}.uid`));
  }
  const was = old.status?.allocation;
  if (allocation !== undefined && was !== undefined && JSON.stringify(allocation) !== JSON.stringify(was))
    errors.push(invalid("status.allocation", allocation, "field is immutable"));
  return errors;
}
