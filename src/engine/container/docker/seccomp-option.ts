import { invalidArgument } from "../../../base/index.ts";
import type { OciSeccomp } from "../../../api/index.ts";

/** What the conditions of a profile's rules ask for. */
export interface SeccompFacts {
  /** Those of the container (its bounding set). */
  readonly capabilities: readonly string[];
  /** As `uname -r` says it. */
  readonly kernel: string;
}

interface Conditions {
  readonly caps?: readonly string[] | null;
  readonly arches?: readonly string[] | null;
  /** `4.8`: that version or a newer one. */
  readonly minKernel?: string;
}

/** A rule as Docker's profiles have it, which the runtime's specification has not: with conditions. */
interface Rule {
  readonly name?: string;
  readonly names?: string[];
  readonly action: string;
  readonly errnoRet?: number;
  readonly args?: Array<{ index: number; value: number; valueTwo?: number; op: string }> | null;
  readonly includes?: Conditions | null;
  readonly excludes?: Conditions | null;
}

type Profile = Omit<OciSeccomp, "syscalls"> & {
  readonly archMap?: Array<{ architecture: string; subArchitectures?: string[] | null }>;
  readonly syscalls?: Rule[];
};

const ARCHITECTURE = process.arch === "arm64" ? "arm64" : "amd64";

/** `--security-opt seccomp=`: a profile's content, `unconfined` (undefined) or `builtin`. Throws invalidArgument. Pure. */
export function seccompOption(value: string, facts: SeccompFacts): OciSeccomp | "default" | undefined {
  if (value === "unconfined") return undefined;
  if (value === "builtin" || value === "") return "default";
  const profile = parse(value);
  return {
    defaultAction: profile.defaultAction,
    defaultErrnoRet: profile.defaultErrnoRet,
    architectures:
      profile.architectures ??
      profile.archMap
        ?.filter((entry) => /X86_64|AARCH64/.test(entry.architecture))
        .flatMap((entry) => [entry.architecture, ...(entry.subArchitectures ?? [])]),
    syscalls: (profile.syscalls ?? [])
      .filter((rule) => includes(rule.includes ?? {}, facts) && !excludes(rule.excludes ?? {}, facts))
      .map((rule) => ({
        names: rule.names ?? (rule.name ? [rule.name] : []),
        action: rule.action,
        errnoRet: rule.errnoRet,
        args: rule.args ?? undefined,
      })),
  };
}

function parse(text: string): Profile {
  try {
    return JSON.parse(text) as Profile;
  } catch (error) {
    throw invalidArgument("Decoding seccomp profile failed: it is not JSON", { cause: error });
  }
}

/** All of what is named must hold. */
function includes({ caps, arches, minKernel }: Conditions, facts: SeccompFacts): boolean {
  return (
    (!arches?.length || arches.includes(ARCHITECTURE)) &&
    (caps ?? []).every((name) => facts.capabilities.includes(name)) &&
    (!minKernel || isAtLeast(facts.kernel, minKernel))
  );
}

/** Any of what is named is enough. */
function excludes({ caps, arches, minKernel }: Conditions, facts: SeccompFacts): boolean {
  return (
    (arches ?? []).includes(ARCHITECTURE) ||
    (caps ?? []).some((name) => facts.capabilities.includes(name)) ||
    (minKernel ? isAtLeast(facts.kernel, minKernel) : false)
  );
}

function isAtLeast(kernel: string, wanted: string): boolean {
  const [major = 0, minor = 0] = numbers(kernel);
  const [wantedMajor = 0, wantedMinor = 0] = numbers(wanted);
  return major > wantedMajor || (major === wantedMajor && minor >= wantedMinor);
}

const numbers = (version: string) => version.split(/[.-]/).map(Number);
