import { createHash } from "node:crypto";
import { invalidArgument } from "../../base/index.ts";
import type { Digest } from "./types.ts";

const PATTERN = /^sha256:[0-9a-f]{64}$/;

export function isDigest(text: string): boolean {
  return PATTERN.test(text);
}

/** Throws `invalidArgument` unless `text` is `sha256:` + 64 lower-case hex digits. Every path made from a digest passes here. */
export function checkDigest(text: string): Digest {
  if (!PATTERN.test(text)) throw invalidArgument(`"${text.slice(0, 100)}" is not a sha256 digest`);
  return text;
}

export function hexOf(digest: Digest): string {
  return checkDigest(digest).slice("sha256:".length);
}

export function digestOf(bytes: Uint8Array | string): Digest {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}
