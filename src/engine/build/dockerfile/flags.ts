/** `--name=value` after an instruction's name, and the options inside `RUN --mount=`. */
import type { MountFlag, MountType } from "./instructions.ts";
import { expandWord, wordEnd } from "./lex.ts";
import { dockerfileError, nearest, type Position, type Source } from "./source.ts";

export interface Flag {
  readonly name: string;
  readonly value: string | undefined;
  readonly position: Position;
}

/** Which flags an instruction takes: `value` may not be empty, `bool` stands alone or is true or false, `list` may be repeated. */
export type FlagKinds = Readonly<Record<string, "value" | "bool" | "list">>;

/** Flags by name, checked against what the instruction takes. */
export class Flags {
  readonly #flags: readonly Flag[];

  constructor(source: Source, instruction: string, flags: readonly Flag[], kinds: FlagKinds) {
    this.#flags = flags;
    const seen = new Set<string>();
    for (const flag of flags) {
      const length = flag.name.length + 2;
      const kind = kinds[flag.name];
      if (kind === undefined) throw unknownFlag(source, instruction, flag, Object.keys(kinds));
      if (kind !== "list" && seen.has(flag.name))
        throw dockerfileError(source, flag.position, `duplicate flag specified: --${flag.name}`, { length });
      seen.add(flag.name);
      if (kind === "bool" && flag.value !== undefined && !["true", "false"].includes(flag.value))
        throw dockerfileError(
          source,
          flag.position,
          `expecting boolean value for flag --${flag.name}, not: ${flag.value}`,
          { length },
        );
      if (kind !== "bool" && !flag.value)
        throw dockerfileError(source, flag.position, `missing a value on flag: --${flag.name}`, { length });
    }
  }
  text(name: string): string | undefined {
    return this.find(name)?.value;
  }
  bool(name: string): boolean {
    const flag = this.find(name);
    return flag !== undefined && flag.value !== "false";
  }
  has(name: string): boolean {
    return this.find(name) !== undefined;
  }
  all(name: string): readonly Flag[] {
    return this.#flags.filter((flag) => flag.name === name);
  }
  find(name: string): Flag | undefined {
    return this.#flags.find((flag) => flag.name === name);
  }
}

function unknownFlag(source: Source, instruction: string, flag: Flag, known: readonly string[]) {
  const meant = nearest(flag.name, known);
  const hint = meant
    ? `Did you mean --${meant}?`
    : known.length > 0
      ? `${instruction} takes ${known.map((name) => `--${name}`).join(", ")}.`
      : `${instruction} takes no flags.`;
  return dockerfileError(source, flag.position, `unknown flag: --${flag.name}`, { length: flag.name.length + 2, hint });
}

/** Reads leading flags of `text` from `offset` on; `rest` is where the arguments begin. A lone `--` ends the flags. */
export function readFlags(
  text: string,
  offset: number,
  escape: string,
  positionAt: (offset: number) => Position,
): { flags: Flag[]; rest: number } {
  const flags: Flag[] = [];
  let at = skipBlanks(text, offset);
  while (text.startsWith("--", at)) {
    const end = wordEnd(text, at, escape);
    const word = expandWord(text.slice(at, end).replaceAll("$", `${escape}$`), new Map(), { escape });
    const position = positionAt(at);
    at = skipBlanks(text, end);
    if (word === "--") break;
    const equals = word.indexOf("=");
    flags.push({
      name: equals < 0 ? word.slice(2) : word.slice(2, equals),
      value: equals < 0 ? undefined : word.slice(equals + 1),
      position,
    });
  }
  return { flags, rest: at };
}

export function skipBlanks(text: string, offset: number): number {
  let at = offset;
  while (at < text.length && /\s/.test(text[at]!)) at++;
  return at;
}

const MOUNT_ALIASES: Record<string, string> = {
  src: "source",
  dst: "target",
  destination: "target",
  ro: "readonly",
  rw: "readwrite",
};
const MOUNT_OPTIONS: Record<MountType, readonly string[]> = {
  bind: ["target", "source", "from", "readwrite", "readonly"],
  cache: ["id", "target", "source", "from", "readonly", "readwrite", "sharing", "mode", "uid", "gid"],
  tmpfs: ["target", "size"],
  secret: ["id", "target", "required", "mode", "uid", "gid", "env"],
  ssh: ["id", "target", "required", "mode", "uid", "gid"],
};
const BOOLEAN_OPTIONS = new Set(["readonly", "readwrite", "required"]);

/** https://docs.docker.com/reference/dockerfile/#run---mount */
export function parseMount(source: Source, flag: Flag): MountFlag {
  const fail = (what: string, hint?: string) =>
    dockerfileError(source, flag.position, what, { length: "--mount".length, ...(hint ? { hint } : {}) });
  const options: Record<string, string> = {};
  for (const part of (flag.value ?? "").split(",")) {
    const equals = part.indexOf("=");
    const name = (equals < 0 ? part : part.slice(0, equals)).trim().toLowerCase();
    const value = equals < 0 ? "true" : part.slice(equals + 1);
    const key = MOUNT_ALIASES[name] ?? name;
    if (equals < 0 && !BOOLEAN_OPTIONS.has(key)) throw fail(`invalid field '${part}' must be a key=value pair`);
    options[key] = value;
  }
  const type = (options["type"] ?? "bind") as MountType;
  delete options["type"];
  if (!(type in MOUNT_OPTIONS)) {
    const meant = nearest(type, Object.keys(MOUNT_OPTIONS));
    throw fail(
      `unsupported mount type ${JSON.stringify(type)}`,
      meant ? `Did you mean ${meant}?` : `Known are ${Object.keys(MOUNT_OPTIONS).join(", ")}.`,
    );
  }
  for (const key of Object.keys(options)) {
    if (MOUNT_OPTIONS[type].includes(key)) continue;
    const meant = nearest(key, MOUNT_OPTIONS[type]);
    throw fail(`unexpected key '${key}' for mount type '${type}'`, meant ? `Did you mean ${meant}?` : undefined);
  }
  if (["bind", "cache", "tmpfs"].includes(type) && !options["target"])
    throw fail(`missing target for mount type '${type}'`);
  if (type === "secret" && !options["id"] && !options["target"])
    throw fail("invalid secret mount: id or target is needed");
  if (options["sharing"] && !["shared", "private", "locked"].includes(options["sharing"]))
    throw fail(
      `unsupported sharing value ${JSON.stringify(options["sharing"])}`,
      "Known are shared, private and locked.",
    );
  return { type, options, position: flag.position };
}
