import type { k8s } from "../../../../api/index.ts";
import type { FieldError } from "../../../machinery/kind.ts";
import { each, named, validIp } from "../../shared/checks.ts";
import { invalid, required } from "../../shared/field-errors.ts";
import { isDns1123Subdomain, isRelaxedSubdomain } from "../../shared/names.ts";

/** How a Pod's containers resolve names: limits are those of libc. */
const maxNameservers = 3;
const maxSearches = 32;
const maxSearchCharacters = 2048;

export function validateDnsConfig(spec: k8s.PodSpec, at: string): FieldError[] {
  const config = spec.dnsConfig;
  if (spec.dnsPolicy === "None" && config === undefined)
    return [required(at, "must provide `dnsConfig` when `dnsPolicy` is None")];
  const { nameservers = [], searches = [] } = config ?? {};
  if (spec.dnsPolicy === "None" && nameservers.length === 0)
    return [required(`${at}.nameservers`, "must provide at least one DNS nameserver when `dnsPolicy` is None")];
  const errors: FieldError[] = [];
  if (nameservers.length > maxNameservers)
    errors.push(invalid(`${at}.nameservers`, nameservers, `must not have more than ${maxNameservers} nameservers`));
  errors.push(...each(nameservers, `${at}.nameservers`, (server, here) => validIp(here, server)));
  if (searches.length > maxSearches)
    errors.push(invalid(`${at}.searches`, searches, `must not have more than ${maxSearches} search paths`));
  if (searches.join(" ").length > maxSearchCharacters)
    errors.push(
      invalid(
        `${at}.searches`,
        searches,
        `must not have more than ${maxSearchCharacters} characters (including spaces) in the search list`,
      ),
    );
  return [
    ...errors,
    ...each(searches, `${at}.searches`, (search, here) =>
      search === "." ? [] : named(here, search.replace(/\.$/, ""), isRelaxedSubdomain),
    ),
    ...each(config?.options, `${at}.options`, ({ name }, here) => (name ? [] : [required(here, "must not be empty")])),
  ];
}

export const validateHostAliases = (aliases: readonly k8s.HostAlias[] | undefined, at: string): FieldError[] =>
  each(aliases, at, (alias, here) => [
    ...validIp(`${here}.ip`, alias.ip),
    ...each(alias.hostnames, `${here}.hostnames`, (name, nameAt) => named(nameAt, name, isDns1123Subdomain)),
  ]);
