import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { failedPrecondition, invalidArgument, IpRange } from "../../../base/index.ts";

/** The two bytes by which clusters on one machine differ: their addresses are `10.SERVICE.…` and `10.POD.…`. */
export interface Ranges {
  /** `10.X.Y` with Y a multiple of 16: 4,094 Services. */
  readonly service: string;
  /** `10.X`: this node's Pods, other local nodes', and load balancers. */
  readonly pod: string;
  /** The whole range of Services, where the configuration names one. */
  readonly serviceCidr?: string;
  /** Of a cluster with both families: `fd00:96::/112`, and `fd00:244` of `fd00:244::/48`. */
  readonly serviceCidr6?: string;
  readonly pod6?: string;
}

/** What the configuration says: each one CIDR, or one of each family with a comma between. */
export interface WantedRanges {
  readonly podCidr?: string | undefined;
  readonly serviceCidr?: string | undefined;
  /** IPv6 too, in ranges of the instance's own. */
  readonly ipv6?: boolean | undefined;
}

/** Of Services, in the cluster's main family. */
export function mainServiceCidr({ service, serviceCidr }: Ranges): string {
  return serviceCidr ?? (service === DEFAULT.service ? "10.96.0.0/16" : `${service}.0/20`);
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
export function rememberedRanges(folder: string, wanted: WantedRanges, tag: string, pick: () => Ranges): Ranges {
  const file = path.join(folder, "ranges.json");
  const known = readRanges(file);
  const ranges = configuredRanges(known ?? pick(), wanted, known === undefined, tag);
  if (JSON.stringify(ranges) !== JSON.stringify(known)) {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    writeFileSync(file, `${JSON.stringify(ranges)}\n`);
  }
  return ranges;
}

function readRanges(file: string): Ranges | undefined {
  try {
    return JSON.parse(readFileSync(file, "utf8")) as Ranges;
  } catch {
    return undefined;
  }
}

/**
 * The ranges with what the configuration wants. A second family may come at any time; ranges that Services and Pods have addresses of stay. Throws
 * invalidArgument or failedPrecondition.
 */
export function configuredRanges(known: Ranges, wanted: WantedRanges, isNew: boolean, tag = "0000"): Ranges {
  const [pod, pod6] = byFamily("pod-cidr", wanted.podCidr);
  const [service, service6] = byFamily("service-cidr", wanted.serviceCidr);
  if ((pod6 === undefined) !== (service6 === undefined))
    throw invalidArgument("configuration: pod-cidr and service-cidr must have the same families", {
      hint: 'for example "pod-cidr": "10.244.0.0/16,fd00:244::/48", "service-cidr": "10.96.0.0/16,fd00:96::/112"',
    });
  if (pod && !/^10\.\d+\.0\.0\/16$/.test(pod.cidr))
    throw invalidArgument(`configuration: pod-cidr ${pod.cidr} must be a 10.X.0.0/16: a /24 of it is a node's`);
  if (pod6 && !pod6.cidr.endsWith("::/48"))
    throw invalidArgument(`configuration: pod-cidr ${pod6.cidr} must be a /48: a /64 of it is a node's`);
  const next: Ranges = {
    ...known,
    ...(wanted.ipv6 && !known.pod6 && { pod6: `fd62:${tag}`, serviceCidr6: new IpRange(`fd62:${tag}:96::/112`).cidr }),
    ...(pod && { pod: pod.cidr.split(".").slice(0, 2).join(".") }),
    ...(service && { service: service.cidr.split(".").slice(0, 3).join("."), serviceCidr: service.cidr }),
    ...(service6 && { serviceCidr6: service6.cidr }),
    ...(pod6 && { pod6: pod6.cidr.replace("::/48", "") }),
  };
  const kept = (ranges: Ranges) => [ranges.pod, mainServiceCidr(ranges)];
  const moved = (["serviceCidr6", "pod6"] as const).some((key) => known[key] && next[key] !== known[key]);
  if (!isNew && (moved || String(kept(next)) !== String(kept(known))))
    throw failedPrecondition("the cluster has Pods and Services in other ranges than the configuration says", {
      hint: "take pod-cidr and service-cidr back, or begin anew with berth reset",
    });
  return next;
}

function byFamily(key: string, text: string | undefined): [IpRange | undefined, IpRange | undefined] {
  const ranges = (text ?? "")
    .split(",")
    .filter(Boolean)
    .map((cidr) => new IpRange(cidr.trim()));
  const of = (family: string) => ranges.filter((range) => range.family === family);
  if (of("IPv4").length > 1 || of("IPv6").length > 1 || (ranges.length > 0 && ranges[0]!.family !== "IPv4"))
    throw invalidArgument(`configuration: ${key} must be an IPv4 range, or one and an IPv6 range behind a comma`);
  return [of("IPv4")[0], of("IPv6")[0]];
}
