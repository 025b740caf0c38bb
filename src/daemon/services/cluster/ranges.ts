import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";

/** The two bytes by which clusters on one machine differ: their addresses are `10.SERVICE.…` and `10.POD.…`. */
export interface Ranges {
  /** `10.X.Y` with Y a multiple of 16: 4,094 Services. */
  readonly service: string;
  /** `10.X`: this node's Pods, other local nodes', and load balancers. */
  readonly pod: string;
}

/** Upstream's Service range is 10.96.0.0/12; its first /16 and the usual Pod range are the default instance's. */
const DEFAULT: Ranges = { service: "10.96.0", pod: "10.244" };
const SERVICES: readonly string[] = Array.from(
  { length: 15 * 16 },
  (_, at) => `10.${97 + (at >> 4)}.${(at & 15) * 16}`,
);
const PODS: readonly string[] = Array.from({ length: 44 }, (_, at) => `10.${200 + at}`);

/**
 * The first of the ranges that nobody on this machine has an address in, beginning at a place of the instance's own, so that two that start at
 * one moment seldom look at the same. When all are taken, that first place.
 */
export function pickRanges(instance: string, tag: string, addresses: readonly string[]): Ranges {
  if (instance === "default") return DEFAULT;
  const start = Number.parseInt(tag, 16);
  const pick = (candidates: readonly string[], owns: (candidate: string, address: string) => boolean) => {
    const turned = candidates.map((_, at) => candidates[(start + at) % candidates.length]!);
    return turned.find((candidate) => !addresses.some((address) => owns(candidate, address))) ?? turned[0]!;
  };
  return {
    service: pick(SERVICES, (candidate, address) => address.startsWith(`${candidate}.`)),
    pod: pick(PODS, (candidate, address) => address.startsWith(`${candidate}.`)),
  };
}

/** What was picked at the instance's first start holds as long as its data: Services and Pods have addresses of it. */
export function rememberedRanges(folder: string, pick: () => Ranges): Ranges {
  const file = path.join(folder, "ranges.json");
  try {
    return JSON.parse(readFileSync(file, "utf8")) as Ranges;
  } catch {
    const ranges = pick();
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    writeFileSync(file, `${JSON.stringify(ranges)}\n`);
    return ranges;
  }
}
