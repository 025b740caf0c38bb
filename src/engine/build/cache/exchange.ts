/**
 * Cache records that travel: inline in an image's configuration (`BUILDKIT_INLINE_CACHE=1`, `--cache-to type=inline`), read back by `--cache-from`.
 *
 * Keys are made of content only (chain IDs, file digests, command lines), so they mean the same on every machine.
 */
import type { OciImageConfig } from "../../../api/index.ts";
import { invalidArgument, notImplemented } from "../../../base/index.ts";

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
export function parseCacheOption(text: string): { type: string; options: Record<string, string> } {
  if (!text.includes("=")) return { type: "registry", options: { ref: text } };
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

export function unsupportedCache(direction: "cache-to" | "cache-from", type: string) {
  return notImplemented(`--${direction} type=${type} is not supported yet`, {
    hint:
      direction === "cache-to"
        ? "type=inline is: the records travel in the image."
        : "Name an image that was built with type=inline.",
  });
}
