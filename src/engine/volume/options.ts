import { isIP } from "node:net";
import { failedPrecondition, invalidArgument, messageOf } from "../../base/index.ts";
import { MS } from "../../host/index.ts";
import type { VolumeSpec } from "./types.ts";

const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;
const MAX_NAME_LENGTH = 255;
const MANDATORY: Readonly<Record<string, readonly string[]>> = {
  device: ["type"],
  type: ["device"],
  o: ["device", "type"],
};

/** Throws invalidArgument for a name, driver or option that Docker's local driver refuses. */
export function checkVolume(spec: VolumeSpec): void {
  const { name, driver = "local", options = {} } = spec;
  if (name && (!NAME.test(name) || name.length > MAX_NAME_LENGTH)) {
    throw invalidArgument(
      `create ${name}: "${name}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path`,
    );
  }
  if (driver !== "local" && driver !== "") {
    throw invalidArgument(`error looking up volume plugin ${driver}: plugin "${driver}" not found`, {
      hint: "berth has the local driver only",
    });
  }
  for (const [option, value] of Object.entries(options)) {
    if (option === "size") {
      throw invalidArgument("quota size requested but no quota support", { hint: "use type=tmpfs with o=size=…" });
    }
    if (!["type", "device", "o"].includes(option)) throw invalidArgument(`invalid option: ${JSON.stringify(option)}`);
    if (!value) continue;
    for (const other of MANDATORY[option] ?? []) {
      if (!options[other]) throw invalidArgument(`missing required option: ${JSON.stringify(other)}`);
    }
  }
}

/** What to mount for a volume with options. */
export interface MountPlan {
  readonly source: string;
  readonly type: string | null;
  readonly flags: number;
  readonly data: string | null;
}

const FLAGS: Readonly<Record<string, number>> = {
  ro: MS.RDONLY,
  nosuid: MS.NOSUID,
  nodev: MS.NODEV,
  noexec: MS.NOEXEC,
  noatime: MS.NOATIME,
  bind: MS.BIND,
  rbind: MS.BIND | MS.REC,
};
/** Words of mount(8) that mean "as usual". */
const IGNORED = new Set(["rw", "suid", "dev", "exec", "atime", "defaults", "nofail", "_netdev"]);

/** Resolves a host's name to an address. */
export type Lookup = (host: string) => Promise<{ readonly address: string }>;

/** The options with the server in `addr=` by its address: the kernel knows no names. Throws failedPrecondition for one that doesn't resolve. */
export async function withServerAddress(
  options: Readonly<Record<string, string>>,
  lookup: Lookup,
): Promise<Readonly<Record<string, string>>> {
  if (options["type"] !== "nfs" && options["type"] !== "cifs") return options;
  const words = (options["o"] ?? "").split(",");
  const at = words.findIndex((word) => word.startsWith("addr="));
  const host = words[at]?.slice("addr=".length);
  if (!host || isIP(host)) return options;
  try {
    return { ...options, o: words.with(at, `addr=${(await lookup(host)).address}`).join(",") };
  } catch (error) {
    throw failedPrecondition(`error resolving passed in network volume address: ${host}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

/** `type`, `device` and `o` as mount(2) wants them; undefined for a plain directory. */
export function mountPlan(options: Readonly<Record<string, string>>): MountPlan | undefined {
  if (!options["device"] || !options["type"]) return undefined;
  let flags = 0;
  const data: string[] = [];
  for (const word of (options["o"] ?? "").split(",").filter(Boolean)) {
    if (word in FLAGS) flags |= FLAGS[word]!;
    else if (!IGNORED.has(word)) data.push(word);
  }
  const bind = (flags & MS.BIND) !== 0;
  if (options["type"] === "none" && !bind) throw invalidArgument("a volume of type none needs o=bind");
  return {
    source: options["device"],
    type: bind ? null : options["type"],
    flags,
    data: data.length > 0 && !bind ? data.join(",") : null,
  };
}
