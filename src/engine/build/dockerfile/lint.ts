/** What works and yet is probably not meant: BuildKit's build checks by their names (https://docs.docker.com/reference/build-checks/). */
import type { Instruction, InstructionOf } from "./instructions.ts";
import type { Dockerfile } from "./parse.ts";

export interface LintWarning {
  readonly rule: string;
  readonly message: string;
  readonly line: number;
}

/** As `docker build` shows it. */
export function lintText({ rule, message, line }: LintWarning): string {
  return `${rule}: ${message} (line ${line})`;
}

/** What `# check=skip=…` leaves of the warnings. */
export function checked(file: Dockerfile, warnings: readonly LintWarning[]): LintWarning[] {
  const skip = new Set(file.directives.check?.skip.map((rule) => rule.toLowerCase()));
  return skip.has("all") ? [] : warnings.filter(({ rule }) => !skip.has(rule.toLowerCase()));
}

/** Everything that the file alone shows, in its order. */
export function lint(file: Dockerfile): LintWarning[] {
  const linter = new Linter(file.instructions);
  for (const line of file.emptyContinuations) linter.warn("NoEmptyContinuation", "Empty continuation line", line);
  for (const instruction of file.instructions) linter.look(instruction);
  return checked(file, linter.warnings).sort((one, other) => one.line - other.line);
}

const SECRET = /(?:_|^)(?:apikey|auth|credentials?|key|passwd|password|pword|secret|token)(?:_|$)/i;
const ONCE = ["cmd", "entrypoint", "healthcheck"];
const RESERVED = ["scratch", "context"];

class Linter {
  readonly warnings: LintWarning[] = [];
  readonly #majority: "uppercase" | "lowercase";
  /** Stage names with what their stages leave to those built on them. */
  readonly #stages = new Map<string, boolean>();
  #stage = "";
  #hasWorkdir = false;
  #hasShell = false;
  #last = new Map<string, Instruction>();

  constructor(instructions: readonly Instruction[]) {
    const keywords = instructions.map(keywordOf);
    const lower = keywords.filter((keyword) => keyword === keyword.toLowerCase()).length;
    const upper = keywords.filter((keyword) => keyword === keyword.toUpperCase()).length;
    this.#majority = lower > upper ? "lowercase" : "uppercase";
  }

  warn(rule: string, message: string, line: number): void {
    this.warnings.push({ rule, message, line });
  }

  look(instruction: Instruction): void {
    const warn = (rule: string, message: string) => this.warn(rule, message, instruction.line.startLine);
    const keyword = keywordOf(instruction);
    const usual = this.#majority === "lowercase" ? keyword.toLowerCase() : keyword.toUpperCase();
    if (keyword !== usual)
      warn(
        "ConsistentInstructionCasing",
        `Command '${keyword}' should match the case of the command majority (${this.#majority})`,
      );
    if (ONCE.includes(instruction.kind)) this.#once(instruction);
    switch (instruction.kind) {
      case "from":
        return this.#from(instruction, warn);
      case "shell":
        this.#hasShell = true;
        return;
      case "cmd":
      case "entrypoint":
        if (instruction.command.form === "shell" && !this.#hasShell)
          warn(
            "JSONArgsRecommended",
            `JSON arguments recommended for ${instruction.kind.toUpperCase()} to prevent unintended behavior related to OS signals`,
          );
        return;
      case "maintainer":
        return warn("MaintainerDeprecated", "Maintainer instruction is deprecated in favor of using label");
      case "workdir":
        return this.#workdir(instruction.path, warn);
      case "arg":
        return secrets(
          "ARG",
          instruction.args.map(({ name }) => name),
          warn,
        );
      case "env":
      case "label":
        if (isLegacy(instruction))
          warn(
            "LegacyKeyValueFormat",
            `"${instruction.kind.toUpperCase()} key=value" should be used instead of legacy "${instruction.kind.toUpperCase()} key value" format`,
          );
        if (instruction.kind === "label") return;
        return secrets(
          "ENV",
          instruction.pairs.map(({ key }) => key),
          warn,
        );
      case "expose":
        for (const port of instruction.ports.split(/\s+/))
          if (/\/.*[A-Z]/.test(port) && !port.includes("$"))
            warn("ExposeProtoCasing", `Defined protocol '${port}' in EXPOSE instruction should be lowercase`);
        return;
      default:
    }
  }

  #from(from: InstructionOf<"from">, warn: (rule: string, message: string) => void): void {
    this.#stages.set(this.#stage, this.#hasWorkdir);
    this.#hasWorkdir = this.#stages.get(from.image.toLowerCase()) ?? false;
    this.#hasShell = false;
    this.#last = new Map();
    this.#stage = from.alias ?? "";
    const [, as = "", name = ""] = /\s(as)\s+(\S+)\s*$/i.exec(from.line.text) ?? [];
    const keyword = keywordOf(from);
    const matching = keyword === keyword.toLowerCase() ? as.toLowerCase() : as.toUpperCase();
    if (as !== matching) warn("FromAsCasing", `'${as}' and '${keyword}' keywords' casing do not match`);
    if (name !== name.toLowerCase()) warn("StageNameCasing", `Stage name '${name}' should be lowercase`);
    if (from.alias !== undefined && this.#stages.has(from.alias))
      warn("DuplicateStageName", `Duplicate stage name '${name}', stage names should be unique`);
    if (from.alias !== undefined && RESERVED.includes(from.alias))
      warn("ReservedStageName", `'${name}' is reserved and should not be used as a stage name`);
    if (/^\$(?:TARGETPLATFORM|\{TARGETPLATFORM\})$/.test(from.platform ?? ""))
      warn(
        "RedundantTargetPlatform",
        `Setting platform to predefined ${from.platform} in FROM is redundant as this is the default behavior`,
      );
    const fixed = from.platform !== undefined && from.platform !== "" && !from.platform.includes("$");
    if (fixed && !from.platform.split("/").some((part) => from.alias?.includes(part)))
      warn("FromPlatformFlagConstDisallowed", `FROM --platform flag should not use constant value "${from.platform}"`);
  }

  #workdir(path: string, warn: (rule: string, message: string) => void): void {
    if (!/^["']?(?:[/$\\]|[A-Za-z]:)/.test(path) && !this.#hasWorkdir)
      warn(
        "WorkdirRelativePath",
        `Relative workdir ${JSON.stringify(path)} can have unexpected results if the base image changes`,
      );
    this.#hasWorkdir = true;
  }

  /** It is the earlier one that has no effect. */
  #once(instruction: Instruction): void {
    const { kind } = instruction;
    const before = this.#last.get(kind);
    this.#last.set(kind, instruction);
    if (before)
      this.warn(
        "MultipleInstructionsDisallowed",
        `Multiple ${kind.toUpperCase()} instructions should not be used in the same stage because only the last one will be used`,
        before.line.startLine,
      );
  }
}

function keywordOf(instruction: Instruction): string {
  return /\S+/.exec(instruction.line.text)![0];
}

function isLegacy(instruction: InstructionOf<"env" | "label">): boolean {
  const first = /^\s*\S+\s+((?:"(?:\\.|[^"\\])*"|'[^']*'|[^\s"'])+)/.exec(instruction.line.text)?.[1] ?? "=";
  return !first.includes("=");
}

function secrets(keyword: string, names: readonly string[], warn: (rule: string, message: string) => void): void {
  for (const name of names)
    if (SECRET.test(name) && !/public/i.test(name))
      warn("SecretsUsedInArgOrEnv", `Do not use ARG or ENV instructions for sensitive data (${keyword} "${name}")`);
}
