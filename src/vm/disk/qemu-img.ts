import {
  failedPrecondition,
  internal,
  invalidArgument,
  MiB,
  notFound,
  resourceExhausted,
  type BerthError,
} from "../../base/index.ts";
import { run } from "../../host/index.ts";

/** What `qemu-img info --output=json` says, in our words. https://www.qemu.org/docs/master/tools/qemu-img.html */
export interface DiskInfo {
  readonly format: string;
  /** What the guest sees. */
  readonly virtualSizeBytes: number;
  /** What it takes on the host. */
  readonly actualSizeBytes: number;
  readonly backingFile: string | undefined;
  readonly dataFile: string | undefined;
  /** How a VMDK keeps its data. */
  readonly createType?: string;
  readonly encrypted: boolean;
  /** Marked as not closed properly, or with refcount errors. */
  readonly corrupt: boolean;
  readonly snapshots: ReadonlyArray<{
    readonly id: string;
    readonly name: string;
    readonly vmStateBytes: number;
    readonly atMs: number;
  }>;
}

export interface Execution {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}
export type Execute = (
  argv: readonly string[],
  options: { timeoutMs: number; signal?: AbortSignal },
) => Promise<Execution>;

const PROGRAM = "/usr/bin/qemu-img";
const LONG_MS = 30 * 60_000;
const SHORT_MS = 30_000;
/** The kernel's limit of what info and check may use: a crafted header must not take the machine down. As OpenStack's nova does. */
const ADDRESS_SPACE_BYTES = 1024 * MiB;
const CPU_SECONDS = 30;

/** qemu-img, one method a subcommand. Files are named as they are: never options, never protocols. */
export class QemuImg {
  readonly #execute: Execute;

  constructor(execute: Execute = (argv, options) => run(argv, options)) {
    this.#execute = execute;
  }

  /** Reads a header under limits, so that it may come from anybody. Throws notFound, invalidArgument (no disk image), failedPrecondition (in use). */
  async info(file: string, format?: string): Promise<DiskInfo> {
    const limits = ["/usr/bin/prlimit", `--as=${ADDRESS_SPACE_BYTES}`, `--cpu=${CPU_SECONDS}`, "--"];
    const argv = [
      ...limits,
      PROGRAM,
      "info",
      "--output=json",
      "--force-share",
      ...(format ? ["-f", format] : []),
      plain(file),
    ];
    return parseInfo(await this.#run(argv, SHORT_MS));
  }

  async create(
    file: string,
    options: { readonly sizeBytes?: number; readonly backing?: { readonly file: string; readonly format: string } },
  ): Promise<void> {
    const { sizeBytes, backing } = options;
    const base = backing ? ["-b", plain(backing.file), "-F", backing.format] : [];
    await this.#run(
      [
        PROGRAM,
        "create",
        "-q",
        "-f",
        "qcow2",
        ...base,
        plain(file),
        ...(sizeBytes === undefined ? [] : [String(sizeBytes)]),
      ],
      SHORT_MS,
    );
  }

  async convert(
    source: { readonly file: string; readonly format: string },
    target: { readonly file: string; readonly format: string; readonly options?: string; readonly compress?: boolean },
    signal?: AbortSignal,
  ): Promise<void> {
    const argv = [
      PROGRAM,
      "convert",
      "-f",
      source.format,
      "-O",
      target.format,
      ...(target.options ? ["-o", target.options] : []),
      ...(target.compress ? ["-c"] : []),
      plain(source.file),
      plain(target.file),
    ];
    await this.#run(argv, LONG_MS, signal);
  }

  async resize(file: string, format: string, sizeBytes: number): Promise<void> {
    await this.#run([PROGRAM, "resize", "-q", "-f", format, plain(file), String(sizeBytes)], SHORT_MS);
  }

  /** Copies what a linked clone has of its base into it, and forgets the base. */
  async flatten(file: string): Promise<void> {
    await this.#run([PROGRAM, "rebase", "-q", "-f", "qcow2", "-b", "", plain(file)], LONG_MS);
  }

  /** Undefined when all is well, else what is wrong. Raw disks have nothing to check. */
  async check(file: string, format: string): Promise<string | undefined> {
    if (format === "raw") return undefined;
    const { code, stdout, stderr } = await this.#execute(
      [PROGRAM, "check", "-q", "--output=json", "-f", format, plain(file)],
      { timeoutMs: LONG_MS },
    );
    if (code === 0) return undefined;
    if (code === 3) return undefined; // Leaked clusters: space lost, no data.
    return complaint(stderr) || complaint(stdout) || `qemu-img check ended with ${code}`;
  }

  async #run(argv: readonly string[], timeoutMs: number, signal?: AbortSignal): Promise<string> {
    const { code, stdout, stderr } = await this.#execute(argv, { timeoutMs, ...(signal ? { signal } : {}) });
    if (code !== 0) throw errorOf(complaint(stderr) || complaint(stdout) || `qemu-img ended with ${code}`);
    return stdout;
  }
}

/** A path that qemu-img can take for nothing else: absolute, so no option; with the `file:` protocol spelt out, so no other one. */
function plain(file: string): string {
  if (!file.startsWith("/") || file.includes("\0"))
    throw invalidArgument(`${JSON.stringify(file)} is no absolute path`);
  return file.includes(":") || file.includes(",") ? `file:${file}` : file;
}

export function parseInfo(json: string): DiskInfo {
  const raw = JSON.parse(json) as RawInfo;
  const data = raw["format-specific"]?.data ?? {};
  return {
    format: raw.format,
    virtualSizeBytes: raw["virtual-size"],
    actualSizeBytes: raw["actual-size"] ?? 0,
    backingFile: raw["full-backing-filename"] ?? raw["backing-filename"],
    dataFile: data["data-file"],
    ...(data["create-type"] === undefined ? {} : { createType: data["create-type"] }),
    encrypted: raw.encrypted ?? data.encrypt !== undefined,
    corrupt: data.corrupt ?? false,
    snapshots: (raw.snapshots ?? []).map((snapshot) => ({
      id: snapshot.id,
      name: snapshot.name,
      vmStateBytes: snapshot["vm-state-size"],
      atMs: snapshot["date-sec"] * 1000 + Math.floor(snapshot["date-nsec"] / 1e6),
    })),
  };
}

interface RawInfo {
  readonly format: string;
  readonly "virtual-size": number;
  readonly "actual-size"?: number;
  readonly "backing-filename"?: string;
  readonly "full-backing-filename"?: string;
  readonly encrypted?: boolean;
  readonly "format-specific"?: {
    readonly data?: {
      readonly "data-file"?: string;
      readonly "create-type"?: string;
      readonly corrupt?: boolean;
      readonly encrypt?: unknown;
    };
  };
  readonly snapshots?: ReadonlyArray<{
    id: string;
    name: string;
    "vm-state-size": number;
    "date-sec": number;
    "date-nsec": number;
  }>;
}

/** The last line, without the program's name in front. */
function complaint(text: string): string {
  const lines = text.trim().split("\n");
  return (lines.at(-1) ?? "").replace(/^qemu-img: /, "");
}

function errorOf(text: string): BerthError {
  if (/No such file or directory/.test(text)) return notFound(text);
  if (/Failed to get .*lock|Is another process using the image/.test(text))
    return failedPrecondition(`the disk is in use: ${text}`, {
      hint: "stop the machine that uses it, or clone the disk",
    });
  if (/No space left on device/.test(text))
    return resourceExhausted(`the host's disk is full: ${text}`, {
      hint: "free some space, or place the machine elsewhere",
    });
  if (/Image is not in|Could not open|Invalid|corrupt|unsupported|Unknown file format|too (large|small)/i.test(text))
    return invalidArgument(`no usable disk image: ${text}`);
  return internal(text);
}
