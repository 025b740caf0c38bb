import { readFileSync } from "node:fs";

/** `docker run --ulimit`: a name without `RLIMIT_`, in any case; -1 is no limit. */
export interface Ulimit {
  readonly name: string;
  readonly soft: number;
  readonly hard: number;
}

export interface OciRlimit {
  readonly type: string;
  readonly soft: number;
  readonly hard: number;
}

/** Limits as the OCI spec has them. Without CAP_SYS_RESOURCE (`mayRaise`) ours are the most that can be given; `lowered` says where that happened. */
export function ociRlimits(
  ulimits: readonly Ulimit[],
  mayRaise: boolean,
): { rlimits: OciRlimit[]; lowered: Array<{ name: string; most: number }> } {
  const own = mayRaise || ulimits.length === 0 ? new Map<string, number>() : ownLimits();
  const lowered: Array<{ name: string; most: number }> = [];
  const rlimits = ulimits.map(({ name, soft, hard }) => {
    const type = `RLIMIT_${name.toUpperCase()}`;
    const [softValue, hardValue] = [soft, hard].map((value) => (value < 0 ? RLIM_INFINITY : value)) as [number, number];
    const most = own.get(type);
    if (most === undefined || hardValue <= most) return { type, soft: softValue, hard: hardValue };
    lowered.push({ name: name.toLowerCase(), most });
    return { type, soft: Math.min(softValue, most), hard: most };
  });
  return { rlimits, lowered };
}

const RLIM_INFINITY = 2 ** 63;
const LIMIT_NAMES: Readonly<Record<string, string>> = {
  "Max cpu time": "RLIMIT_CPU",
  "Max file size": "RLIMIT_FSIZE",
  "Max data size": "RLIMIT_DATA",
  "Max stack size": "RLIMIT_STACK",
  "Max core file size": "RLIMIT_CORE",
  "Max resident set": "RLIMIT_RSS",
  "Max processes": "RLIMIT_NPROC",
  "Max open files": "RLIMIT_NOFILE",
  "Max locked memory": "RLIMIT_MEMLOCK",
  "Max address space": "RLIMIT_AS",
  "Max file locks": "RLIMIT_LOCKS",
  "Max pending signals": "RLIMIT_SIGPENDING",
  "Max msgqueue size": "RLIMIT_MSGQUEUE",
  "Max nice priority": "RLIMIT_NICE",
  "Max realtime priority": "RLIMIT_RTPRIO",
  "Max realtime timeout": "RLIMIT_RTTIME",
};

/** Our own hard limits, which are the most we can give without CAP_SYS_RESOURCE. */
function ownLimits(): Map<string, number> {
  const limits = new Map<string, number>();
  for (const line of readFileSync("/proc/self/limits", "utf8").split("\n")) {
    const match = /^(.{26})(\S+)\s+(\S+)/.exec(line);
    const type = match && LIMIT_NAMES[match[1]!.trim()];
    if (type) limits.set(type, match[3] === "unlimited" ? RLIM_INFINITY : Number(match[3]));
  }
  return limits;
}
