import { parseDurationMs } from "../../../base/index.ts";
import type { Asked } from "../listener.ts";
import type { Edits, Target } from "../messages.ts";
import type { Entry } from "./matching.ts";
import { SERVED_FILTERS } from "./plan.ts";
import type { BackendReference, HeaderModifier, HttpRouteFilter, HttpRouteRule, PathModifier } from "./types.ts";

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
export function targetOf({ match, rule, grpc }: Entry, asked: Asked, around: Surroundings): Target {
  const prefix = match.path?.type === undefined || match.path.type === "PathPrefix" ? (match.path?.value ?? "/") : "/";
  const chosen = choose(rule.backendRefs ?? [], around.random);
  const filters = [...(rule.filters ?? []), ...(chosen?.filters ?? [])];
  const foreign = filters.find(({ type }) => !SERVED_FILTERS.has(type));
  if (foreign) return { status: 500, message: `the filter ${foreign.type} is not served here` };
  const redirect = filters.find(({ requestRedirect }) => requestRedirect)?.requestRedirect;
  if (redirect) return redirectTo(redirect, prefix, asked, around.port);
  if (!chosen) return { status: 500, message: "the route's rule has no backend that takes requests" };
  const backend = (reference: BackendReference): Target => {
    const found = around.backend(reference);
    return grpc && !("status" in found) ? { ...found, http2: true } : found;
  };
  const target = backend(chosen);
  if ("status" in target) return target;
  const timeoutMs = timeoutOf(rule);
  return {
    ...target,
    ...(timeoutMs !== undefined && { timeoutMs }),
    edits: editsOf(filters, prefix, asked, { ...around, backend }),
  };
}

/** Requests are not tried again, so that the backend's time and the whole request's are one: the shorter. */
function timeoutOf({ timeouts = {} }: HttpRouteRule): number | undefined {
  const limits = [timeouts.request, timeouts.backendRequest].flatMap((text) => {
    const ms = text === undefined ? undefined : parseDurationMs(text);
    return ms ? [ms] : [];
  });
  return limits.length > 0 ? Math.min(...limits) : undefined;
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
  const request: HeaderModifier[] = filters.flatMap(({ requestHeaderModifier }) => requestHeaderModifier ?? []);
  const response: HeaderModifier[] = filters.flatMap(({ responseHeaderModifier }) => responseHeaderModifier ?? []);
  const mirrors = filters.flatMap(({ requestMirror }) => {
    if (!requestMirror || !isMirrored(requestMirror, around.random)) return [];
    const target = around.backend(requestMirror.backendRef);
    return "status" in target ? [] : [target];
  });
  return {
    ...(request.length > 0 && { request }),
    ...(response.length > 0 && { response }),
    ...(rewrite?.hostname && { hostname: rewrite.hostname }),
    ...(rewrite?.path && { path: modified(rewrite.path, prefix, asked.path) }),
    ...(mirrors.length > 0 && { mirrors }),
  };
}

function isMirrored(
  { percent, fraction }: NonNullable<HttpRouteFilter["requestMirror"]>,
  random: (below: number) => number,
): boolean {
  if (percent !== undefined) return random(100) < percent;
  return !fraction || random(fraction.denominator ?? 100) < fraction.numerator;
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
