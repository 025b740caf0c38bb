import { randomBytes } from "node:crypto";

/** Randomness comes from here, so that a simulation is replayable from its seed. */
export interface Random {
  /** Uniform in [0, 1). */
  float(): number;
  bytes(count: number): Uint8Array;
}

export const systemRandom: Random = {
  float: () => Math.random(),
  bytes: (count) => randomBytes(count),
};

/** A seeded generator (mulberry32): the same seed gives the same run. Never for secrets. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
  return {
    float: () => next() / 2 ** 32,
    bytes: (count) => Uint8Array.from({ length: count }, () => next() & 0xff),
  };
}

/** Uniform whole number in [0, below). */
export function randomInt(random: Random, below: number): number {
  return Math.floor(random.float() * below);
}

export function randomHex(random: Random, byteCount: number): string {
  return Buffer.from(random.bytes(byteCount)).toString("hex");
}

/** The alphabet Kubernetes uses for generated names: no vowels and no look-alikes, so that no words appear. */
const SAFE_ALPHABET = "bcdfghjklmnpqrstvwxz2456789";

export function randomSuffix(random: Random, length: number): string {
  return Array.from({ length }, () => SAFE_ALPHABET[randomInt(random, SAFE_ALPHABET.length)]).join("");
}

/** A version-4 UUID (RFC 9562). */
export function randomUuid(random: Random): string {
  const bytes = Buffer.from(random.bytes(16));
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = bytes.toString("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
