import type { ApiRequest, ApiResponse } from "../../api/index.ts";
import type { Clock, Count, Counter, Distribution, Histogram, Metrics } from "../../base/index.ts";
import type { RequestInfo } from "./pipeline.ts";
import type { Registry } from "./registry.ts";

/** Upstream's buckets for whatever the API server waits for, in seconds. */
export const DURATION_BOUNDS = [
  0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60,
];

const LABELS = ["group", "version", "resource", "subresource", "scope", "component"];
/** Anything but resources that has a series of its own. */
const PATHS = new Set([
  "/api",
  "/apis",
  "/healthz",
  "/livez",
  "/metrics",
  "/metrics/slis",
  "/openapi/v2",
  "/openapi/v3",
  "/readyz",
  "/version",
]);
const METHODS: Readonly<Record<string, string>> = { create: "POST", update: "PUT" };

/** Requests of one sort. */
interface Series {
  readonly labels: readonly string[];
  /** Of what ends by itself. */
  readonly seconds: Distribution | undefined;
  readonly byCode: Map<number, Count>;
}

/**
 * Counts requests under upstream's names: https://kubernetes.io/docs/reference/instrumenting/metrics/. Only what is served has a series, so
 * that made-up paths cost nothing.
 */
export class RequestMetrics {
  readonly #clock: Clock;
  readonly #registry: Registry;
  readonly #total: Counter;
  readonly #seconds: Histogram;
  readonly #longRunning: Counter;
  readonly #readOnly: Count;
  readonly #mutating: Count;
  readonly #series = new Map<string, Series>();

  constructor(metrics: Metrics, clock: Clock, registry: Registry) {
    this.#clock = clock;
    this.#registry = registry;
    this.#total = metrics.counter(
      "apiserver_request_total",
      "Requests answered, by verb, what they were about, and status code.",
      ["verb", "dry_run", ...LABELS, "code"],
    );
    this.#seconds = metrics.histogram(
      "apiserver_request_duration_seconds",
      "How long requests took that end by themselves.",
      ["verb", "dry_run", ...LABELS],
      DURATION_BOUNDS,
    );
    this.#longRunning = metrics.level("apiserver_longrunning_requests", "Watches and connections that are open now.", [
      "verb",
      ...LABELS,
    ]);
    const inFlight = metrics.level("apiserver_current_inflight_requests", "Requests being answered now.", [
      "request_kind",
    ]);
    this.#readOnly = inFlight.of("readOnly");
    this.#mutating = inFlight.of("mutating");
  }

  /** To be called with the answer. */
  begin(request: ApiRequest, info: RequestInfo, isLongRunning: boolean): (response: ApiResponse) => ApiResponse {
    const series = this.#seriesOf(request, info, isLongRunning);
    const { verb } = info;
    const inFlight = verb === "get" || verb === "list" ? this.#readOnly : this.#mutating;
    const startedMs = this.#clock.monotonicMs();
    if (!isLongRunning) inFlight.value++;
    return (response) => {
      if (!isLongRunning) inFlight.value--;
      if (!series) return response;
      this.#count(series, response.status);
      series.seconds?.observe((this.#clock.monotonicMs() - startedMs) / 1000);
      return isLongRunning ? this.#followed(response, series.labels) : response;
    };
  }

  /** A watch has begun; the result ends it. */
  watch(of: { group: string; version: string; plural: string }, scope: string): () => void {
    const open = this.#longRunning.of("WATCH", of.group, of.version, of.plural, "", scope, "apiserver");
    open.value++;
    return () => void open.value--;
  }

  #count({ byCode, labels }: Series, code: number): void {
    let count = byCode.get(code);
    if (!count) {
      count = this.#total.of(...labels, String(code));
      byCode.set(code, count);
    }
    count.value++;
  }

  /** Connections that others took over count until they close; watches say for themselves when they end. */
  #followed(response: ApiResponse, [verb = "", , ...labels]: readonly string[]): ApiResponse {
    const { takeover } = response;
    if (!takeover) return response;
    const open = this.#longRunning.of(verb, ...labels);
    return {
      ...response,
      takeover: (socket, head) => {
        open.value++;
        socket.once("close", () => open.value--);
        takeover(socket, head);
      },
    };
  }

  #seriesOf(request: ApiRequest, info: RequestInfo, isLongRunning: boolean): Series | undefined {
    const { group, version, resource, subresource } = info;
    const verb = verbOf(request, info, isLongRunning);
    const scope = scopeOf(info);
    const dryRun = request.query.has("dryRun") ? "All" : "";
    const about = info.isResource ? `${group}/${version}/${resource}/${subresource}` : info.path;
    const key = `${verb} ${scope} ${dryRun} ${about}`;
    const known = this.#series.get(key);
    if (known) return known;
    if (!this.#isServed(info)) return undefined;
    const of = info.isResource ? [group, version, resource, subresource] : ["", "", "", info.path];
    const labels = [verb, dryRun, ...of, scope, "apiserver"];
    const series = { labels, seconds: isLongRunning ? undefined : this.#seconds.of(...labels), byCode: new Map() };
    this.#series.set(key, series);
    return series;
  }

  #isServed({ isResource, path, group, version, resource, subresource }: RequestInfo): boolean {
    if (!isResource) return PATHS.has(path);
    if (this.#registry.endpoint(group, version, resource, subresource)) return true;
    const { strategy } = this.#registry.find(group, version, resource) ?? {};
    if (!strategy) return false;
    return ["", "status", "scale", ...(strategy.updateSubresources ?? [])].includes(subresource);
  }
}

function verbOf({ headers, method }: ApiRequest, { verb, isResource }: RequestInfo, isLongRunning: boolean): string {
  if (verb === "patch" && headers["content-type"]?.startsWith("application/apply-patch")) return "APPLY";
  if (isLongRunning && verb !== "watch") return "CONNECT";
  if (!isResource) return method;
  return METHODS[verb] ?? verb.toUpperCase();
}

function scopeOf({ isResource, verb, name, namespace }: RequestInfo): string {
  if (!isResource) return "";
  if (name !== "" || verb === "create") return "resource";
  return namespace === "" ? "cluster" : "namespace";
}
