import type { Asked } from "../listener.ts";
import type { Edits, Target } from "../messages.ts";
import type { Entry } from "./matching.ts";
import type { BackendReference, HeaderModifier, HttpRouteFilter, PathModifier } from "./types.ts";

/** What the answer to a request depends on besides the route. */
export interface Surroundings {
  /** Of the listener. */
  readonly port: number;
  /** From 0 up to, and without, `below`. */
  readonly random: (below: number) => number;
  /** Where a reference leads; a status when it leads nowhere. */
  readonly backend: (reference: BackendReference) => Target;
}

/** What is done with a request that goes this way: a redirect, or one of the rule's backends by weight, with the filters' changes. */
export function targetOf({ match, rule }: Entry, asked: Asked, around: Surroundings): Target {
  const filters = rule.filters ?? [];
  const prefix = match.path?.type === undefined || match.path.type === "PathPrefix" ? (match.path?.value ?? "/") : "/";
  const redirect = filters.find(({ requestRedirect }) => requestRedirect)?.requestRedirect;
  if (redirect) return redirectTo(redirect, prefix, asked, around.port);
  const chosen = choose(rule.backendRefs ?? [], around.random);
  if (!chosen) return { status: 500, message: "the route's rule has no backend that takes requests" };
  const target = around.backend(chosen);
  return "status" in target ? target : { ...target, edits: editsOf(filters, prefix, asked, around) };
}

/** By weight; a backend of weight 0 takes nothing. */
function choose(
  references: readonly BackendReference[],
  random: (below: number) => number,
): BackendReference | undefined {
  const total = references.reduce((sum, { weight = 1 }) => sum + weight, 0);
  if (total === 0) return undefined;
  let left = random(total);
  return references.find(({ weight = 1 }) => (left -= weight) < 0);
}

function editsOf(filters: readonly HttpRouteFilter[], prefix: string, asked: Asked, around: Surroundings): Edits {
  const one = <K extends keyof HttpRouteFilter>(kind: K) => filters.find((filter) => filter[kind])?.[kind];
  const rewrite = one("urlRewrite");
  const request: HeaderModifier | undefined = one("requestHeaderModifier");
  const response: HeaderModifier | undefined = one("responseHeaderModifier");
  const mirrors = filters.flatMap(({ requestMirror }) => {
    const target = requestMirror && around.backend(requestMirror.backendRef);
    return target && !("status" in target) ? [target] : [];
  });
  return {
    ...(request && { request }),
    ...(response && { response }),
    ...(rewrite?.hostname && { hostname: rewrite.hostname }),
    ...(rewrite?.path && { path: modified(rewrite.path, prefix, asked.path) }),
    ...(mirrors.length > 0 && { mirrors }),
  };
}

/** Path and query after the change. */
function modified(
  { type, replaceFullPath = "/", replacePrefixMatch = "/" }: PathModifier,
  prefix: string,
  path: string,
): string {
  const at = path.indexOf("?");
  const [bare, query] = at < 0 ? [path, ""] : [path.slice(0, at), path.slice(at)];
  if (type === "ReplaceFullPath") return replaceFullPath + query;
  const rest = bare.slice(prefix.replace(/\/+$/, "").length).replace(/^\/+/, "");
  const start = replacePrefixMatch.replace(/\/+$/, "");
  return `${rest === "" ? replacePrefixMatch || "/" : `${start}/${rest}`}${query}`;
}

const WELL_KNOWN: Readonly<Record<string, number>> = { http: 80, https: 443 };

function redirectTo(
  redirect: NonNullable<HttpRouteFilter["requestRedirect"]>,
  prefix: string,
  asked: Asked,
  listenerPort: number,
): Target {
  const scheme = redirect.scheme ?? (asked.secure ? "https" : "http");
  const host = redirect.hostname ?? asked.host.replace(/:\d+$/, "");
  const port = redirect.port ?? (redirect.scheme ? WELL_KNOWN[scheme]! : listenerPort);
  const path = redirect.path ? modified(redirect.path, prefix, asked.path) : asked.path;
  const location = `${scheme}://${host}${port === WELL_KNOWN[scheme] ? "" : `:${port}`}${path}`;
  return { status: redirect.statusCode ?? 302, message: `see ${location}`, headers: { location } };
}
