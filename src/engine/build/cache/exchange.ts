/**
 * What `--cache-from` and `--cache-to` say, and cache records that travel inline in an image's configuration (`BUILDKIT_INLINE_CACHE=1`,
 * `type=inline`). `transfer.ts` has those that travel on their own.
 *
 * Keys are made of content only (chain IDs, file digests, command lines), so they mean the same on every machine.
 */
import type { OciImageConfig } from "../../../api/index.ts";
import { invalidArgument, notImplemented } from "../../../base/index.ts";
import type { BuildRequest } from "../types.ts";

export interface InlineRecord {
  readonly key: string;
  readonly chainId: string;
  readonly description: string;
  readonly createdAtMs: number;
}

/** The field in the image's configuration. Others ignore it, as the image specification wants. */
const FIELD = "io.berth.cache.v1";
const MAX_INLINE_RECORDS = 1000;

export function withInlineCache(config: OciImageConfig, records: readonly InlineRecord[]): OciImageConfig {
  return { ...config, [FIELD]: records } as OciImageConfig;
}

/** What an image says, as far as it is well-formed. */
export function inlineRecords(config: OciImageConfig): InlineRecord[] {
  const field = (config as unknown as Record<string, unknown>)[FIELD];
  if (!Array.isArray(field)) return [];
  return field.slice(0, MAX_INLINE_RECORDS).filter(isRecord);
}

function isRecord(value: unknown): value is InlineRecord {
  if (typeof value !== "object" || value === null) return false;
  const { key, chainId, description, createdAtMs } = value as Record<string, unknown>;
  return (
    typeof key === "string" &&
    /^[0-9a-f]{64}$/.test(key) &&
    typeof chainId === "string" &&
    /^sha256:[0-9a-f]{64}$/.test(chainId) &&
    typeof description === "string" &&
    typeof createdAtMs === "number"
  );
}

/** `--cache-from` and `--cache-to`: a plain image name, or `type=…,key=value`. */
function parseCacheOption(text: string): { type: string; options: Record<string, string> } {
  if (!text.includes("=")) return { type: "image", options: { ref: text } };
  const options: Record<string, string> = {};
  for (const part of text.split(",")) {
    const equals = part.indexOf("=");
    if (equals < 1)
      throw invalidArgument(
        `invalid cache option ${JSON.stringify(text)}: ${JSON.stringify(part)} is no key=value pair`,
      );
    options[part.slice(0, equals)] = part.slice(equals + 1);
  }
  const { type = "registry", ...rest } = options;
  return { type, options: rest };
}

/** A cache elsewhere. */
export interface CacheSource {
  /** `image`: one that is here or can be pulled, with an inline cache. `registry`: a cache of its own, or such an image. */
  readonly type: "image" | "registry" | "local";
  /** Reference or folder. */
  readonly name: string;
}

export interface CacheTarget extends CacheSource {
  /** `min`: the steps of the image itself; `max`: of all stages. */
  readonly mode: "min" | "max";
  /** A failure is a warning. */
  readonly ignoreError: boolean;
}

/** What a build takes from elsewhere, and what it leaves there. */
export interface CachePlan {
  readonly from: readonly CacheSource[];
  readonly to: readonly CacheTarget[];
  /** The image carries its records. */
  readonly inline: boolean;
}

export function cachePlan(request: Pick<BuildRequest, "cacheFrom" | "cacheTo" | "buildArgs">): CachePlan {
  const targets = (request.cacheTo ?? []).map(parseCacheOption);
  const inline = ["1", "true"].includes(request.buildArgs?.["BUILDKIT_INLINE_CACHE"] ?? "");
  return {
    from: (request.cacheFrom ?? []).map((text) => sourceOf("cache-from", parseCacheOption(text))),
    to: targets.filter(({ type }) => type !== "inline").map(targetOf),
    inline: inline || targets.some(({ type }) => type === "inline"),
  };
}

type CacheOption = ReturnType<typeof parseCacheOption>;

function sourceOf(direction: "cache-to" | "cache-from", { type, options }: CacheOption): CacheSource {
  if (type !== "registry" && type !== "local" && !(type === "image" && direction === "cache-from"))
    throw notImplemented(`--${direction} type=${type} is not supported`, {
      hint: "type=registry,ref=NAME and type=local are; --cache-to knows type=inline, too",
    });
  const field = type !== "local" ? "ref" : direction === "cache-from" ? "src" : "dest";
  const name = options[field];
  if (!name) throw invalidArgument(`--${direction} type=${type} needs ${field}=`);
  return { type, name };
}

function targetOf(option: CacheOption): CacheTarget {
  const { mode = "min", "ignore-error": ignore = "false" } = option.options;
  if (mode !== "min" && mode !== "max") throw invalidArgument(`--cache-to mode=${mode}: it is min or max`);
  return { ...sourceOf("cache-to", option), mode, ignoreError: ignore === "true" };
}
