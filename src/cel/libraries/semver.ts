import type { Environment } from "@marcbachmann/cel-js";

const SEMVER = /^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-([0-9A-Za-z-.]+))?(?:\+[0-9A-Za-z-.]+)?$/;

export class Semver {
  readonly parts: readonly bigint[];
  readonly preRelease: readonly string[];
  constructor(text: string) {
    const found = SEMVER.exec(text);
    if (!found) throw new Error(`${JSON.stringify(text)} is not a semantic version`);
    this.parts = found.slice(1, 4).map(BigInt);
    this.preRelease = found[4]?.split(".") ?? [];
  }
  /** https://semver.org/#spec-item-11 */
  compare(other: Semver): bigint {
    for (const [at, part] of this.parts.entries())
      if (part !== other.parts[at]) return part < other.parts[at]! ? -1n : 1n;
    if (this.preRelease.length === 0 || other.preRelease.length === 0)
      return BigInt(Math.sign(other.preRelease.length - this.preRelease.length));
    for (const [at, word] of this.preRelease.entries()) {
      const theirs = other.preRelease[at];
      if (theirs === undefined) return 1n;
      if (word !== theirs) return comparePreRelease(word, theirs);
    }
    return this.preRelease.length < other.preRelease.length ? -1n : 0n;
  }
}

function comparePreRelease(a: string, b: string): bigint {
  const [isNumber, isTheirs] = [/^\d+$/.test(a), /^\d+$/.test(b)];
  if (isNumber && isTheirs) return BigInt(a) < BigInt(b) ? -1n : 1n;
  if (isNumber !== isTheirs) return isNumber ? -1n : 1n;
  return a < b ? -1n : 1n;
}

/** Without a leading v and leading zeros, and with the parts that were left out. */
function normalized(text: string): string {
  const [, numbers = "", rest = ""] = /^v?([^-+]*)(.*)$/.exec(text) ?? [];
  const parts = numbers.split(".").map((part) => part.replace(/^0+(?=\d)/, ""));
  while (parts.length < 3) parts.push("0");
  return parts.join(".") + rest;
}

/** https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-semver-library */
export function addSemver(environment: Environment): Environment {
  return environment
    .registerType("kubernetes.Semver", Semver)
    .registerOperator("kubernetes.Semver == kubernetes.Semver", (a: Semver, b: Semver) => a.compare(b) === 0n)
    .registerFunction("semver(string): kubernetes.Semver", (text: string) => new Semver(text))
    .registerFunction(
      "semver(string, bool): kubernetes.Semver",
      (text: string, loose: boolean) => new Semver(loose ? normalized(text) : text),
    )
    .registerFunction("isSemver(string): bool", (text: string) => SEMVER.test(text))
    .registerFunction("isSemver(string, bool): bool", (text: string, loose: boolean) =>
      SEMVER.test(loose ? normalized(text) : text),
    )
    .registerFunction("kubernetes.Semver.major(): int", ({ parts }: Semver) => parts[0])
    .registerFunction("kubernetes.Semver.minor(): int", ({ parts }: Semver) => parts[1])
    .registerFunction("kubernetes.Semver.patch(): int", ({ parts }: Semver) => parts[2])
    .registerFunction("kubernetes.Semver.compareTo(kubernetes.Semver): int", (a: Semver, b: Semver) => a.compare(b))
    .registerFunction(
      "kubernetes.Semver.isLessThan(kubernetes.Semver): bool",
      (a: Semver, b: Semver) => a.compare(b) < 0n,
    )
    .registerFunction(
      "kubernetes.Semver.isGreaterThan(kubernetes.Semver): bool",
      (a: Semver, b: Semver) => a.compare(b) > 0n,
    );
}
