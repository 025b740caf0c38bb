import { isIP } from "node:net";
import { parseQuantityNano } from "../../../base/index.ts";
import type { FieldError } from "../../machinery/kind.ts";
import { invalid, required } from "./field-errors.ts";
import { isDns1123Label, isDns1123Subdomain, isPortName, isPortNumber } from "./names.ts";

/** Checks that validation of many kinds is made of. Each returns what is wrong, in upstream's words; an empty list means fine. */

/** Every item of a list, with its own path. */
export function each<T>(
  items: readonly T[] | undefined,
  at: string,
  check: (item: T, at: string, index: number) => FieldError[],
): FieldError[] {
  return (items ?? []).flatMap((item, index) => check(item, `${at}[${index}]`, index));
}

/** Every entry of a map, by `at[key]`. */
export function eachEntry<T>(
  map: Readonly<Record<string, T>> | undefined,
  at: string,
  check: (value: T, at: string, key: string) => FieldError[],
): FieldError[] {
  return Object.entries(map ?? {}).flatMap(([key, value]) => check(value, `${at}[${key}]`, key));
}

/** What a name check says of a value, at its field. */
export const named = (at: string, value: string, check: (value: string) => string[]): FieldError[] =>
  check(value).map((detail) => invalid(at, value, detail));

export const namedIfSet = (at: string, value: string | undefined, check: (value: string) => string[]): FieldError[] =>
  value ? named(at, value, check) : [];

export const mustBeSet = (at: string, value: unknown, detail = ""): FieldError[] =>
  value === undefined || value === "" || value === null ? [required(at, detail)] : [];

/** Required, and a name. */
export const requiredName = (at: string, value: string | undefined, check: (value: string) => string[]): FieldError[] =>
  value ? named(at, value, check) : [required(at)];

export const label = (at: string, value: string | undefined): FieldError[] => namedIfSet(at, value, isDns1123Label);
export const subdomain = (at: string, value: string | undefined): FieldError[] =>
  namedIfSet(at, value, isDns1123Subdomain);

export const validIp = (at: string, value: string | undefined): FieldError[] =>
  isIP(value ?? "") === 0
    ? [invalid(at, value ?? "", "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")]
    : [];

export function isCidr(value: string): boolean {
  const [address = "", prefix = "", ...more] = value.split("/");
  const family = isIP(address);
  return more.length === 0 && family !== 0 && /^\d{1,3}$/.test(prefix) && Number(prefix) <= (family === 4 ? 32 : 128);
}

export const validCidr = (at: string, value: string | undefined): FieldError[] =>
  isCidr(value ?? "")
    ? []
    : [invalid(at, value ?? "", "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)")];

/** Upstream's ValidatePortNumOrName. */
export function portNumberOrName(at: string, port: number | string | undefined): FieldError[] {
  if (typeof port === "string") return isPortName(port).map((detail) => invalid(at, port, detail));
  return isPortNumber(port ?? 0).map((detail) => invalid(at, port ?? 0, detail));
}

export const inRange = (at: string, value: number, least: number, most: number): FieldError[] =>
  value >= least && value <= most ? [] : [invalid(at, value, `must be between ${least} and ${most}, inclusive`)];

/** A user's or group's number. */
export const validId = (at: string, value: number | undefined): FieldError[] =>
  value === undefined ? [] : inRange(at, value, 0, 2_147_483_647);

export const positive = (at: string, value: number): FieldError[] =>
  value > 0 ? [] : [invalid(at, value, "must be greater than zero")];

export const validFileMode = (at: string, mode: number | undefined): FieldError[] =>
  mode !== undefined && (mode < 0 || mode > 0o777)
    ? [invalid(at, mode, "must be a number between 0 and 0777 (octal), both inclusive")]
    : [];

/** No `..` among the parts of a path. */
export const noBacksteps = (at: string, path: string): FieldError[] =>
  path.split("/").includes("..") ? [invalid(at, path, "must not contain '..'")] : [];

/** A path below some folder. */
export const descendingPath = (at: string, path: string): FieldError[] => [
  ...(path.startsWith("/") ? [invalid(at, path, "must be a relative path")] : []),
  ...noBacksteps(at, path),
];

/** …whose name is not kept for volumes' own links (`..data`). */
export const unreservedPath = (at: string, path: string): FieldError[] => [
  ...descendingPath(at, path),
  ...(path.startsWith("..") && path !== ".." && !path.startsWith("../")
    ? [invalid(at, path, "must not start with '..'")]
    : []),
];

/** `acme.io/foo`: apimachinery's IsDomainPrefixedPath. */
export function domainPath(at: string, value: string | undefined): FieldError[] {
  if (!value) return [required(at)];
  const slash = value.indexOf("/");
  const [host, path] = slash < 0 ? ["", ""] : [value.slice(0, slash), value.slice(slash + 1)];
  if (host === "" || path === "") return [invalid(at, value, 'must be a domain-prefixed path (such as "acme.io/foo")')];
  const pattern = "[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+";
  return [
    ...named(at, host, isDns1123Subdomain),
    ...(/^[A-Za-z0-9/\-._~%!$&'()*+,;=:]+$/.test(path)
      ? []
      : [invalid(at, path, `Invalid path (regex used for validation is '${pattern}')`)]),
  ];
}

/** In billionths; undefined for what is no quantity. */
export function nano(quantity: string | number | undefined): bigint | undefined {
  if (quantity === undefined) return undefined;
  try {
    return parseQuantityNano(String(quantity));
  } catch {
    return undefined;
  }
}

const quantityPattern = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/** Parses, and is not negative. */
export function validateQuantity(field: string, quantity: string): FieldError[] {
  const value = nano(quantity);
  if (value === undefined) return [invalid(field, quantity, quantityPattern)];
  return value < 0n ? [invalid(field, quantity, "must be greater than or equal to 0")] : [];
}

/** Parses, and is more than nothing. */
export function positiveQuantity(field: string, quantity: string): FieldError[] {
  const value = nano(quantity);
  if (value === undefined) return [invalid(field, quantity, quantityPattern)];
  return value <= 0n ? [invalid(field, quantity, "must be greater than zero")] : [];
}
