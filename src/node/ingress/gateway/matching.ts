import { re2Like } from "./patterns.ts";
import type { Asked } from "../listener.ts";
import type { HttpRouteMatch, HttpRouteRule, ValueMatch } from "./types.ts";

/** One way for a request to a rule: a host name, and one of the rule's matches. */
export interface Entry {
  /** `shop.example`, `*.example`, or empty for every host. */
  readonly hostname: string;
  readonly match: HttpRouteMatch;
  readonly rule: HttpRouteRule;
  /** `namespace/name` of the HTTPRoute, and when it was made. */
  readonly route: string;
  /** Its backends are asked over HTTP/2. */
  readonly grpc?: boolean;
  readonly created: string;
}

/**
 * In the order in which they are tried: host names by their precision, paths (exact, then long prefixes), a method, more headers, more query parameters; then
 * the older route, then by name. https://gateway-api.sigs.k8s.io/reference/spec/#httprouterule
 */
export function byPrecedence(entries: readonly Entry[]): Entry[] {
  return entries
    .map((entry, place) => ({ entry, place, rank: rankOf(entry) }))
    .sort((one, other) => {
      for (const [index, value] of one.rank.entries())
        if (value !== other.rank[index]) return other.rank[index]! - value;
      const age = `${one.entry.created} ${one.entry.route}`;
      const otherAge = `${other.entry.created} ${other.entry.route}`;
      return age === otherAge ? one.place - other.place : age < otherAge ? -1 : 1;
    })
    .map(({ entry }) => entry);
}

function rankOf({ hostname, match }: Entry): number[] {
  const { type = "PathPrefix", value = "/" } = match.path ?? {};
  return [
    hostname === "" ? 0 : hostname.startsWith("*") ? 1 : 2,
    hostname.length,
    type === "Exact" ? 1 : 0,
    value.length,
    match.method ? 1 : 0,
    match.headers?.length ?? 0,
    match.queryParams?.length ?? 0,
  ];
}

/** Whether the request goes this way. */
export function matches({ hostname, match }: Entry, asked: Asked): boolean {
  const at = asked.path.indexOf("?");
  const bare = at < 0 ? asked.path : asked.path.slice(0, at);
  const query = new URLSearchParams(at < 0 ? "" : asked.path.slice(at + 1));
  return (
    hostCovers(hostname, asked.host) &&
    (match.method === undefined || match.method === asked.method) &&
    pathFits(match.path, bare) &&
    firstOfEach(match.headers, (name) => name.toLowerCase()).every((one) =>
      valueFits(one, joined(asked.headers[one.name.toLowerCase()])),
    ) &&
    firstOfEach(match.queryParams, (name) => name).every((one) => valueFits(one, query.get(one.name)))
  );
}

/** Of matches with one name only the first counts. */
function firstOfEach(all: readonly ValueMatch[] = [], nameOf: (name: string) => string): readonly ValueMatch[] {
  return all.filter((one, place) => all.findIndex(({ name }) => nameOf(name) === nameOf(one.name)) === place);
}

/** A wildcard covers any number of labels here, unlike an Ingress's. */
export function hostCovers(pattern: string, host: string): boolean {
  const name = host.replace(/:\d+$/, "").toLowerCase();
  if (pattern === "") return true;
  return pattern.startsWith("*.")
    ? name.endsWith(pattern.slice(1)) && name.length > pattern.length - 1
    : name === pattern;
}

function pathFits(path: HttpRouteMatch["path"], bare: string): boolean {
  const { type = "PathPrefix", value = "/" } = path ?? {};
  if (type === "Exact") return bare === value;
  if (type === "RegularExpression") return re2Like(value).test(bare);
  const prefix = value.replace(/\/+$/, "");
  return bare === prefix || bare.startsWith(`${prefix}/`);
}

function joined(values: string | readonly string[] | undefined): string | null {
  return values === undefined ? null : [values].flat().join(", ");
}

/** What is not there fits nothing, not even an empty pattern. */
function valueFits({ type = "Exact", value }: ValueMatch, seen: string | null): boolean {
  if (seen === null) return false;
  return type === "RegularExpression" ? re2Like(value).test(seen) : seen === value;
}
