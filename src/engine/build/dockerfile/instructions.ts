/** A Dockerfile's instructions after parsing: typed, checked for form, variables not yet replaced. */
import type { Heredoc, LogicalLine } from "./reader.ts";
import type { Position } from "./source.ts";

/** `["a", "b"]` or a line for the shell. */
export interface CommandLine {
  readonly form: "exec" | "shell";
  /** One element for the shell form. */
  readonly args: readonly string[];
}

export type MountType = "bind" | "cache" | "tmpfs" | "secret" | "ssh";

/** `RUN --mount=…`; values still hold variables. */
export interface MountFlag {
  readonly type: MountType;
  readonly options: Readonly<Record<string, string>>;
  readonly position: Position;
}

export interface KeyValue {
  readonly key: string;
  readonly value: string;
}

/** A file that stands in the Dockerfile itself. */
export interface InlineFile {
  readonly name: string;
  readonly content: string;
  readonly expand: boolean;
}

export interface CopyBody {
  readonly sources: readonly string[];
  readonly inlineFiles: readonly InlineFile[];
  readonly destination: string;
  readonly from?: string;
  readonly chown?: string;
  readonly chmod?: string;
  readonly link: boolean;
  readonly parents: boolean;
  readonly exclude: readonly string[];
  /** ADD only. */
  readonly checksum?: string;
  readonly keepGitDir?: boolean;
  /** ADD only; undefined: archives in the context are unpacked, those from a URL are not. */
  readonly unpack?: boolean;
}

export interface HealthcheckBody {
  /** Undefined: NONE. */
  readonly command?: CommandLine;
  readonly intervalNanos?: number;
  readonly timeoutNanos?: number;
  readonly startPeriodNanos?: number;
  readonly startIntervalNanos?: number;
  readonly retries?: number;
}

export type InstructionBody =
  | { readonly kind: "from"; readonly image: string; readonly platform?: string; readonly alias?: string }
  | { readonly kind: "arg"; readonly args: readonly { readonly name: string; readonly value?: string }[] }
  | {
      readonly kind: "run";
      readonly command: CommandLine;
      readonly heredocs: readonly Heredoc[];
      readonly mounts: readonly MountFlag[];
      readonly network?: "default" | "none" | "host";
      readonly security?: "sandbox" | "insecure";
    }
  | ({ readonly kind: "copy" } & CopyBody)
  | ({ readonly kind: "add" } & CopyBody)
  | { readonly kind: "env"; readonly pairs: readonly KeyValue[] }
  | { readonly kind: "label"; readonly pairs: readonly KeyValue[] }
  | { readonly kind: "maintainer"; readonly name: string }
  | { readonly kind: "workdir"; readonly path: string }
  | { readonly kind: "user"; readonly user: string }
  | { readonly kind: "expose"; readonly ports: string }
  | { readonly kind: "volume"; readonly paths: readonly string[] }
  | { readonly kind: "cmd"; readonly command: CommandLine }
  | { readonly kind: "entrypoint"; readonly command: CommandLine }
  | { readonly kind: "shell"; readonly args: readonly string[] }
  | { readonly kind: "stopsignal"; readonly signal: string }
  | ({ readonly kind: "healthcheck" } & HealthcheckBody)
  | { readonly kind: "onbuild"; readonly trigger: string };

export type InstructionKind = InstructionBody["kind"];

/** An instruction and where it stands. */
export type Instruction = InstructionBody & {
  readonly line: LogicalLine;
  /** On one line, blanks folded: what progress and history show. */
  readonly text: string;
};

export type InstructionOf<K extends InstructionKind> = Extract<Instruction, { kind: K }>;
