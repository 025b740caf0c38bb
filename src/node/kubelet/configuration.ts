import { invalidArgument, parseDurationMs } from "../../base/index.ts";

/**
 * What a kubelet is told, by the names of upstream's KubeletConfiguration (kubelet.config.k8s.io/v1beta1): the `kubelet` object of the daemon's
 * configuration file. Everything has a default.
 */
export interface KubeletConfiguration {
  /** A folder (or file) of Pod manifests that run without anybody creating them. */
  readonly staticPodPath?: string | undefined;
  /** A URL that answers such a Pod, or a list of them. */
  readonly staticPodUrl?: string | undefined;
  /** Sent when it is asked. */
  readonly staticPodUrlHeaders: Readonly<Record<string, readonly string[]>>;
  readonly httpCheckFrequencyMs: number;
  /** How often that folder is read besides what the file system tells. */
  readonly fileCheckFrequencyMs: number;
  /** How Pods end when the machine goes down: each from this priority on gets so long, the lowest first. Ascending. */
  readonly shutdownGroups: readonly ShutdownGroup[];
  /** `unix:///run/containerd/containerd.sock`: whose containers the Pods are; berth's own engine when left out. */
  readonly containerRuntimeEndpoint?: string | undefined;
  readonly imageServiceEndpoint?: string | undefined;
  /** By signal, as upstream: `{"memory.available": "100Mi"}`. Undefined: upstream's defaults. */
  readonly evictionHard?: string | undefined;
  readonly evictionSoft?: string | undefined;
  readonly evictionSoftGracePeriodMs: ReadonlyMap<string, number>;
  readonly evictionMaxPodGracePeriodSeconds: number;
  /** For how long the node's lease is good. It is renewed four times as often; the cluster takes the node for lost a quarter later. */
  readonly nodeLeaseDurationSeconds: number;
}

export interface ShutdownGroup {
  readonly priority: number;
  readonly graceMs: number;
}

/** From here on a Pod is critical (`system-cluster-critical`). */
const CRITICAL_PRIORITY = 2_000_000_000;
const DEFAULT_CHECK_MS = 20_000;
/** Upstream does nothing at a shutdown unless told; here it is only ever asked for, so it has a sensible time. */
const DEFAULT_SHUTDOWN_MS = 30_000;
const DEFAULT_CRITICAL_MS = 10_000;
const DEFAULT_LEASE_SECONDS = 40;

type Raw = Readonly<Record<string, unknown>>;

const KEYS: ReadonlySet<string> = new Set([
  "apiVersion",
  "kind",
  "staticPodPath",
  "staticPodURL",
  "staticPodURLHeader",
  "httpCheckFrequency",
  "fileCheckFrequency",
  "shutdownGracePeriod",
  "shutdownGracePeriodCriticalPods",
  "shutdownGracePeriodByPodPriority",
  "containerRuntimeEndpoint",
  "imageServiceEndpoint",
  "evictionHard",
  "evictionSoft",
  "evictionSoftGracePeriod",
  "evictionMaxPodGracePeriod",
  "nodeLeaseDurationSeconds",
]);

/** Throws invalidArgument that names the field. */
export function kubeletConfiguration(raw: Raw = {}): KubeletConfiguration {
  for (const key of Object.keys(raw))
    if (!KEYS.has(key))
      throw invalidArgument(`kubelet configuration: unknown field "${key}"`, {
        hint: `known: ${[...KEYS].join(", ")}`,
      });
  const soft = thresholds(raw, "evictionSoft");
  const softGrace = new Map(
    Object.entries((raw["evictionSoftGracePeriod"] ?? {}) as Record<string, string>).map(([signal, text]) => [
      signal,
      durationMs(text, `evictionSoftGracePeriod.${signal}`),
    ]),
  );
  for (const signal of Object.keys((raw["evictionSoft"] ?? {}) as object))
    if (!softGrace.has(signal))
      throw invalidArgument(`kubelet configuration: evictionSoft has ${signal}, and evictionSoftGracePeriod has not`);
  return {
    staticPodPath: text(raw, "staticPodPath"),
    staticPodUrl: text(raw, "staticPodURL"),
    staticPodUrlHeaders: headers(raw, "staticPodURLHeader"),
    httpCheckFrequencyMs: duration(raw, "httpCheckFrequency") || DEFAULT_CHECK_MS,
    fileCheckFrequencyMs: duration(raw, "fileCheckFrequency") || DEFAULT_CHECK_MS,
    shutdownGroups: shutdownGroups(raw),
    containerRuntimeEndpoint: text(raw, "containerRuntimeEndpoint"),
    imageServiceEndpoint: text(raw, "imageServiceEndpoint"),
    evictionHard: thresholds(raw, "evictionHard"),
    evictionSoft: soft,
    evictionSoftGracePeriodMs: softGrace,
    evictionMaxPodGracePeriodSeconds: Number(raw["evictionMaxPodGracePeriod"] ?? 0),
    nodeLeaseDurationSeconds: leaseSeconds(raw),
  };
}

/** `shutdownGracePeriod` is the whole time, of which critical Pods have the last part; or a list by priority instead of both. */
function shutdownGroups(raw: Raw): ShutdownGroup[] {
  const list = raw["shutdownGracePeriodByPodPriority"] as
    | ReadonlyArray<{ priority?: number; shutdownGracePeriodSeconds?: number }>
    | undefined;
  if (list !== undefined && list.length > 0) {
    if (raw["shutdownGracePeriod"] !== undefined || raw["shutdownGracePeriodCriticalPods"] !== undefined)
      throw invalidArgument(
        "kubelet configuration: shutdownGracePeriodByPodPriority stands instead of shutdownGracePeriod and shutdownGracePeriodCriticalPods",
      );
    return list
      .map(({ priority = 0, shutdownGracePeriodSeconds = 0 }) => ({
        priority,
        graceMs: shutdownGracePeriodSeconds * 1000,
      }))
      .toSorted((a, b) => a.priority - b.priority);
  }
  const wholeMs = duration(raw, "shutdownGracePeriod") ?? DEFAULT_SHUTDOWN_MS;
  const criticalMs = duration(raw, "shutdownGracePeriodCriticalPods") ?? Math.min(DEFAULT_CRITICAL_MS, wholeMs / 2);
  if (criticalMs > wholeMs)
    throw invalidArgument("kubelet configuration: shutdownGracePeriodCriticalPods is more than shutdownGracePeriod");
  return [
    { priority: Number.MIN_SAFE_INTEGER, graceMs: wholeMs - criticalMs },
    { priority: CRITICAL_PRIORITY, graceMs: criticalMs },
  ];
}

function leaseSeconds(raw: Raw): number {
  const key = "nodeLeaseDurationSeconds";
  const value = raw[key] ?? DEFAULT_LEASE_SECONDS;
  if (typeof value === "number" && Number.isInteger(value) && value > 0) return value;
  throw invalidArgument(`kubelet configuration: ${key} must be a whole number of seconds above 0`);
}

function text(raw: Raw, key: string): string | undefined {
  const value = raw[key];
  if (value === undefined || value === "") return undefined;
  if (typeof value !== "string") throw invalidArgument(`kubelet configuration: ${key} must be a text`);
  return value;
}

function headers(raw: Raw, key: string): Record<string, string[]> {
  const value = raw[key] ?? {};
  const isWellFormed =
    typeof value === "object" &&
    Object.values(value).every((list) => Array.isArray(list) && list.every((one) => typeof one === "string"));
  if (!isWellFormed) throw invalidArgument(`kubelet configuration: ${key} must be an object of lists of texts`);
  return value as Record<string, string[]>;
}

function duration(raw: Raw, key: string): number | undefined {
  return raw[key] === undefined ? undefined : durationMs(raw[key], key);
}

/** Go's notation, `1m30s`. */
function durationMs(value: unknown, key: string): number {
  const ms = parseDurationMs(String(value));
  if (ms === undefined)
    throw invalidArgument(`kubelet configuration: ${key}: ${JSON.stringify(value)} is no duration such as "1m30s"`);
  return ms;
}

/** As the command line's form, `SIGNAL<QUANTITY,…`, which `eviction/thresholds.ts` reads. */
function thresholds(raw: Raw, key: string): string | undefined {
  const value = raw[key];
  if (value === undefined) return undefined;
  if (typeof value === "string") return value;
  if (typeof value !== "object" || value === null)
    throw invalidArgument(`kubelet configuration: ${key} must be an object of signals`);
  return Object.entries(value)
    .map(([signal, quantity]) => `${signal}<${quantity}`)
    .join(",");
}
