import path from "node:path";
import { invalidArgument } from "../../../base/index.ts";
import type { DockerContainerConfig, DockerHostConfig, DockerMount } from "../../../api/index.ts";
import type { MountRecord } from "./record.ts";

const PROPAGATIONS = new Set(["private", "rprivate", "shared", "rshared", "slave", "rslave"]);
const LABELS = new Set(["z", "Z", "consistent", "cached", "delegated"]);

/** What a container wants mounted, volumes still without a name (`Name` "" means: make an anonymous one). Pure. */
export function planMounts(
  config: DockerContainerConfig,
  host: DockerHostConfig,
  volumesFrom: readonly MountRecord[] = [],
): MountRecord[] {
  const byTarget = new Map<string, MountRecord>();
  const explicit = new Set<string>();
  for (const mount of volumesFrom) byTarget.set(mount.Destination, mount);
  const add = (mount: MountRecord) => {
    if (explicit.has(mount.Destination)) throw invalidArgument(`Duplicate mount point: ${mount.Destination}`);
    explicit.add(mount.Destination);
    byTarget.set(mount.Destination, mount);
  };
  for (const bind of host.Binds ?? []) add(parseBind(bind));
  for (const mount of host.Mounts ?? []) add(fromMount(mount));
  for (const [target, options] of Object.entries(host.Tmpfs ?? {})) {
    add({ ...tmpfs(cleanTarget(target)), options: checkTmpfs(options.split(",").filter(Boolean)) });
  }
  for (const target of Object.keys(config.Volumes ?? {})) {
    const destination = cleanTarget(target);
    if (!byTarget.has(destination)) byTarget.set(destination, { ...volume("", destination), anonymous: true });
  }
  // A mount above another one must come first.
  return [...byTarget.values()].sort((a, b) => depth(a.Destination) - depth(b.Destination));
}

const depth = (target: string) => target.split("/").length;

/** `source:target[:options]` or `target`, as `docker run -v` sends it. */
export function parseBind(bind: string): MountRecord {
  const parts = bind.split(":");
  if (parts.length > 3 || parts.some((part) => part === ""))
    throw invalidArgument(`invalid volume specification: '${bind}'`);
  if (parts.length === 1) return { ...volume("", cleanTarget(parts[0]!)), anonymous: true };
  const [source, target, modes = ""] = parts as [string, string, string?];
  const destination = cleanTarget(target);
  let readonly = false;
  let propagation = "";
  let noCopy = false;
  for (const mode of modes.split(",").filter(Boolean)) {
    if (mode === "ro" || mode === "readonly") readonly = true;
    else if (mode === "nocopy") noCopy = true;
    else if (PROPAGATIONS.has(mode)) propagation = mode;
    else if (mode !== "rw" && !LABELS.has(mode)) throw invalidArgument(`invalid mode: ${modes}`);
  }
  if (source.startsWith("/")) {
    return {
      Type: "bind",
      Source: path.normalize(source).replace(/(.)\/$/, "$1"),
      Destination: destination,
      Mode: modes,
      RW: !readonly,
      Propagation: propagation || "rprivate",
      createSource: true,
    };
  }
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/.test(source)) {
    throw invalidArgument(
      `${bind.split(":")[0]} includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path`,
    );
  }
  return { ...volume(source, destination), Mode: modes || "z", RW: !readonly, noCopy };
}

function fromMount(mount: DockerMount): MountRecord {
  const bad = (why: string) => invalidArgument(`invalid mount config for type "${mount.Type}": ${why}`);
  if (!mount.Target) throw bad("field Target must not be empty");
  const destination = cleanTarget(mount.Target);
  const RW = !mount.ReadOnly;
  switch (mount.Type) {
    case "bind":
      if (!mount.Source) throw bad("field Source must not be empty");
      if (!mount.Source.startsWith("/"))
        throw bad("invalid mount path: '" + mount.Source + "' mount path must be absolute");
      return {
        Type: "bind",
        Source: path.normalize(mount.Source),
        Destination: destination,
        Mode: "",
        RW,
        Propagation: mount.BindOptions?.Propagation || "rprivate",
        nonRecursive: mount.BindOptions?.NonRecursive,
        createSource: mount.BindOptions?.CreateMountpoint,
      };
    case "volume":
      return {
        ...volume(mount.Source ?? "", destination),
        Mode: "z",
        RW,
        anonymous: !mount.Source,
        noCopy: mount.VolumeOptions?.NoCopy,
        subpath: mount.VolumeOptions?.Subpath || undefined,
      };
    case "tmpfs": {
      if (mount.Source) throw bad("field Source must not be specified");
      const { SizeBytes, Mode, Options } = mount.TmpfsOptions ?? {};
      return {
        ...tmpfs(destination),
        RW,
        options: [
          ...(SizeBytes ? [`size=${SizeBytes}`] : []),
          ...(Mode ? [`mode=${Mode.toString(8)}`] : []),
          ...(Options ?? []).map((pair) => pair.join("=")),
        ],
      };
    }
    case "image":
      if (!mount.Source) throw bad("field Source must not be empty");
      return {
        Type: "image",
        Source: mount.Source,
        Destination: destination,
        Mode: "",
        // Docker shows what was asked for; nothing can be written there either way.
        RW: false,
        Propagation: "",
        subpath: mount.ImageOptions?.Subpath || undefined,
      };
    default:
      throw invalidArgument(`mount type unknown: "${mount.Type ?? ""}"`);
  }
}

function volume(name: string, destination: string): MountRecord {
  return {
    Type: "volume",
    Name: name,
    Source: "",
    Destination: destination,
    Driver: "local",
    Mode: "",
    RW: true,
    Propagation: "",
  };
}

/** What tmpfs knows of mount(8)'s words and of its own. Throws invalidArgument. */
function checkTmpfs(options: string[]): string[] {
  const unknown = options.find((option) => !(option.includes("=") ? TMPFS_VALUE : TMPFS_WORD).test(option));
  if (unknown !== undefined) throw invalidArgument(`invalid tmpfs option [${JSON.stringify(unknown)}]`);
  return options;
}

const TMPFS_VALUE = /^(size|mode|uid|gid|nr_inodes|nr_blocks|mpol)=./;
const TMPFS_WORD =
  /^(defaults|r[ow]|(no)?(suid|dev|exec|atime|diratime|relatime|strictatime|mand)|a?sync|dirsync|remount|r?bind|r?(private|shared|slave|unbindable))$/;

function tmpfs(destination: string): MountRecord {
  return { Type: "tmpfs", Source: "", Destination: destination, Mode: "", RW: true, Propagation: "" };
}

function cleanTarget(target: string): string {
  if (!target.startsWith("/")) throw invalidArgument(`invalid mount path: '${target}' mount path must be absolute`);
  const clean = path.normalize(target).replace(/(.)\/$/, "$1");
  if (clean === "/") throw invalidArgument("invalid specification: destination can't be '/'");
  return clean;
}
