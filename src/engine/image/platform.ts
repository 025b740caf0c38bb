import { invalidArgument } from "../../base/index.ts";
import type { OciDescriptor, OciPlatform } from "../../api/index.ts";

const ARCHITECTURES: Readonly<Record<string, string>> = {
  x64: "amd64",
  ia32: "386",
  arm: "arm",
  arm64: "arm64",
  ppc64: "ppc64le",
  s390x: "s390x",
  riscv64: "riscv64",
  loong64: "loong64",
};
const ALIASES: Readonly<Record<string, readonly [string, string?]>> = {
  x86_64: ["amd64"],
  "x86-64": ["amd64"],
  i386: ["386"],
  aarch64: ["arm64"],
  armhf: ["arm", "v7"],
  armel: ["arm", "v6"],
};

/** The machine's own platform in OCI's (that is, Go's) words. */
export function hostPlatform(architecture: string = process.arch): OciPlatform {
  return normalize({ os: "linux", architecture: ARCHITECTURES[architecture] ?? architecture });
}

/** `linux/arm64/v8`, `arm64`, `linux`; also the JSON form of newer API versions. */
export function parsePlatform(text: string): OciPlatform {
  if (text.startsWith("{")) return fromJson(text);
  const parts = text.toLowerCase().split("/");
  if (parts.length > 3 || parts.some((part) => !/^[a-z0-9_.-]+$/.test(part)))
    throw invalidArgument(`"${text}" is an invalid platform: os/architecture[/variant] is expected`);
  if (parts.length > 1) return normalize({ os: parts[0]!, architecture: parts[1]!, variant: parts[2] });
  const known = Object.values(ARCHITECTURES).includes(parts[0]!) || parts[0]! in ALIASES;
  if (known) return normalize({ os: "linux", architecture: parts[0]! });
  if (!["linux", "windows", "darwin", "freebsd"].includes(parts[0]!))
    throw invalidArgument(`"${text}": unknown operating system or architecture`);
  return { ...hostPlatform(), os: parts[0]! };
}

function fromJson(text: string): OciPlatform {
  try {
    const value = JSON.parse(text) as Partial<OciPlatform>;
    return normalize({
      os: value.os ?? "linux",
      architecture: value.architecture ?? hostPlatform().architecture,
      variant: value.variant,
    });
  } catch (error) {
    throw invalidArgument(`"${text.slice(0, 100)}" is an invalid platform`, { cause: error });
  }
}

function normalize({ os, architecture, variant }: { os: string; architecture: string; variant?: string }): OciPlatform {
  const [name, implied] = ALIASES[architecture] ?? [architecture];
  const chosen = variant ?? implied;
  const kept = (name === "arm64" && chosen === "v8") || (name === "amd64" && chosen === "v1") ? undefined : chosen;
  return { os, architecture: name, ...(kept !== undefined && kept !== "" && { variant: kept }) };
}

export function platformText(platform: OciPlatform): string {
  return [platform.os, platform.architecture, ...(platform.variant ? [platform.variant] : [])].join("/");
}

/** How well `offered` serves `wanted`: undefined for not at all, higher is better. An older ARM variant serves a newer one. */
export function platformScore(wanted: OciPlatform, offered: OciPlatform): number | undefined {
  const [want, have] = [normalize({ ...wanted }), normalize({ ...offered })];
  if (want.os !== have.os || want.architecture !== have.architecture) return undefined;
  if (want.variant === have.variant) return 100;
  if (want.architecture !== "arm") return want.variant === undefined || have.variant === undefined ? 50 : undefined;
  const [wantVersion, haveVersion] = [variantNumber(want.variant, 7), variantNumber(have.variant, 7)];
  return haveVersion <= wantVersion ? haveVersion : undefined;
}

function variantNumber(variant: string | undefined, otherwise: number): number {
  return variant === undefined ? otherwise : Number(variant.slice(1)) || 0;
}

/** The best image for a platform in an index; attestations and other entries of unknown platform are never chosen. */
export function choosePlatform(manifests: readonly OciDescriptor[], wanted: OciPlatform): OciDescriptor | undefined {
  let best: { score: number; descriptor: OciDescriptor } | undefined;
  for (const descriptor of manifests) {
    if (descriptor.platform?.os === "unknown") continue;
    const score = descriptor.platform ? platformScore(wanted, descriptor.platform) : 0;
    if (score !== undefined && (!best || score > best.score)) best = { score, descriptor };
  }
  return best?.descriptor;
}

/** What `docker create` warns of when nobody asked for the platform of an image that this machine doesn't have. */
export function foreignPlatformWarning(image: OciPlatform, host: OciPlatform = hostPlatform()): string | undefined {
  if (platformScore(host, image) !== undefined) return undefined;
  return `The requested image's platform (${platformText(image)}) does not match the detected host platform (${platformText(host)}) and no specific platform was requested`;
}
