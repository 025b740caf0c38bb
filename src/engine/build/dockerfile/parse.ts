/** From logical lines to typed instructions: the form of each is checked here, its meaning in graph/. */
import { BerthError, messageOf, parseDurationMs } from "../../../base/index.ts";
import { Flags, parseMount, readFlags, skipBlanks, type FlagKinds } from "./flags.ts";
import type {
  CommandLine,
  CopyBody,
  HealthcheckBody,
  Instruction,
  InstructionBody,
  InstructionKind,
  KeyValue,
} from "./instructions.ts";
import { splitWords, type Word } from "./lex.ts";
import { readDocument, type Directives, type LogicalLine } from "./reader.ts";
import { dockerfileError, nearest, type Position, type Source } from "./source.ts";

export interface Dockerfile {
  readonly source: Source;
  readonly directives: Directives;
  readonly instructions: readonly Instruction[];
  readonly emptyContinuations: readonly number[];
}

/** Throws invalidArgument with line, column and an excerpt. */
export function parseDockerfile(text: string, name = "Dockerfile"): Dockerfile {
  const document = readDocument(text, name);
  const instructions = document.lines.map((line) => parseLine(document.source, document.directives.escape, line));
  const { source, directives, emptyContinuations } = document;
  return { source, directives, instructions, emptyContinuations };
}

const COPY_FLAGS: FlagKinds = {
  from: "value",
  chown: "value",
  chmod: "value",
  link: "bool",
  parents: "bool",
  exclude: "list",
};
const ADD_FLAGS: FlagKinds = {
  chown: "value",
  chmod: "value",
  link: "bool",
  exclude: "list",
  checksum: "value",
  "keep-git-dir": "bool",
  unpack: "bool",
};
const FLAGS: Record<InstructionKind, FlagKinds> = {
  from: { platform: "value" },
  arg: {},
  run: { mount: "list", network: "value", security: "value", device: "list" },
  copy: COPY_FLAGS,
  add: ADD_FLAGS,
  env: {},
  label: {},
  maintainer: {},
  workdir: {},
  user: {},
  expose: {},
  volume: {},
  cmd: {},
  entrypoint: {},
  shell: {},
  stopsignal: {},
  healthcheck: {
    interval: "value",
    timeout: "value",
    "start-period": "value",
    "start-interval": "value",
    retries: "value",
  },
  onbuild: {},
};
const KEYWORDS = Object.keys(FLAGS) as InstructionKind[];

function parseLine(source: Source, escape: string, line: LogicalLine): Instruction {
  const start = skipBlanks(line.text, 0);
  const keyword = /\S+/.exec(line.text)![0];
  const kind = keyword.toLowerCase() as InstructionKind;
  if (!KEYWORDS.includes(kind)) {
    const meant = nearest(keyword, KEYWORDS);
    throw dockerfileError(source, line.positionAt(start), `unknown instruction: ${keyword}`, {
      length: keyword.length,
      hint: meant ? `Did you mean ${meant.toUpperCase()}?` : `Known are ${KEYWORDS.join(", ").toUpperCase()}.`,
    });
  }
  try {
    const parser = new LineParser(source, escape, line, kind, start + keyword.length);
    return { ...parser.parse(), line, text: oneLine(line) };
  } catch (error) {
    if (error instanceof BerthError && error.details["line"] === undefined)
      throw dockerfileError(source, line.positionAt(0), messageOf(error), { length: line.text.length, cause: error });
    throw error;
  }
}

function oneLine(line: LogicalLine): string {
  const text = line.text.trim().replace(/\s+/g, " ");
  const documents = line.heredocs.map((heredoc) => ` (${heredoc.content.split("\n").length - 1} lines)`).join("");
  return text.replace(/^\S+/, (word) => word.toUpperCase()) + documents;
}

class LineParser {
  readonly #source: Source;
  readonly #escape: string;
  readonly #line: LogicalLine;
  readonly #kind: InstructionKind;
  readonly #flags: Flags;
  /** Where the arguments begin, and they. */
  readonly #at: number;
  readonly #rest: string;

  constructor(source: Source, escape: string, line: LogicalLine, kind: InstructionKind, offset: number) {
    this.#source = source;
    this.#escape = escape;
    this.#line = line;
    this.#kind = kind;
    // An ONBUILD's flags are its trigger's.
    const { flags, rest } =
      kind === "onbuild"
        ? { flags: [], rest: skipBlanks(line.text, offset) }
        : readFlags(line.text, offset, escape, line.positionAt);
    this.#flags = new Flags(source, kind.toUpperCase(), flags, FLAGS[kind]);
    this.#at = rest;
    this.#rest = line.text.slice(rest).trimEnd();
  }

  parse(): InstructionBody {
    switch (this.#kind) {
      case "from":
        return this.#from();
      case "arg":
        return { kind: "arg", args: this.#args() };
      case "run":
        return this.#run();
      case "copy":
      case "add":
        return { kind: this.#kind, ...this.#copy() };
      case "env":
      case "label":
        return { kind: this.#kind, pairs: this.#pairs() };
      case "maintainer":
        return { kind: "maintainer", name: this.#one() };
      case "workdir":
        return { kind: "workdir", path: this.#one() };
      case "user":
        return { kind: "user", user: this.#one() };
      case "stopsignal":
        return { kind: "stopsignal", signal: this.#one() };
      case "expose":
        return { kind: "expose", ports: this.#one() };
      case "volume":
        return this.#volume();
      case "cmd":
      case "entrypoint":
        return { kind: this.#kind, command: this.#command() };
      case "shell":
        return this.#shell();
      case "healthcheck":
        return { kind: "healthcheck", ...this.#healthcheck() };
      case "onbuild":
        return this.#onbuild();
    }
  }

  #fail(what: string, at = this.#at, length = 1, hint?: string) {
    const position: Position = this.#line.positionAt(Math.min(at, Math.max(0, this.#line.text.length - 1)));
    return dockerfileError(this.#source, position, what, { length, ...(hint ? { hint } : {}) });
  }

  #one(): string {
    if (this.#rest === "")
      throw this.#fail(`${this.#kind.toUpperCase()} requires exactly one argument`, 0, this.#kind.length);
    return this.#rest;
  }

  #words(): Word[] {
    return splitWords(this.#rest, this.#escape).map((word) => ({ ...word, offset: word.offset + this.#at }));
  }

  #from(): InstructionBody {
    const words = this.#words();
    const [image, as, alias] = words;
    if (!image || words.length === 2 || words.length > 3 || (as && as.text.toLowerCase() !== "as"))
      throw this.#fail("FROM requires either one or three arguments", 0, 4, "FROM IMAGE or FROM IMAGE AS NAME");
    if (alias && !/^[a-z][a-z0-9-_.]*$/i.test(alias.text))
      throw this.#fail(
        `invalid name for build stage: ${JSON.stringify(alias.text)}, name can't start with a number or contain symbols`,
        alias.offset,
        alias.text.length,
      );
    const platform = this.#flags.text("platform");
    return {
      kind: "from",
      image: image.text,
      ...(platform === undefined ? {} : { platform }),
      ...(alias ? { alias: alias.text.toLowerCase() } : {}),
    };
  }

  #args() {
    const words = this.#words();
    if (words.length === 0) throw this.#fail("ARG requires at least one argument", 0, 3);
    return words.map((word) => {
      const equals = word.text.indexOf("=");
      const name = equals < 0 ? word.text : word.text.slice(0, equals);
      if (!/^[A-Za-z_][A-Za-z0-9_.-]*$/.test(name))
        throw this.#fail(
          `ARG names can not be ${name === "" ? "blank" : JSON.stringify(name)}`,
          word.offset,
          word.text.length,
        );
      return equals < 0 ? { name } : { name, value: word.text.slice(equals + 1) };
    });
  }

  #json(): string[] | undefined {
    if (!this.#rest.startsWith("[")) return undefined;
    try {
      const parsed = JSON.parse(this.#rest) as unknown;
      if (Array.isArray(parsed) && parsed.every((item) => typeof item === "string")) return parsed;
    } catch {
      // Not JSON: Docker takes it for the shell form.
    }
    return undefined;
  }

  #command(): CommandLine {
    const list = this.#json();
    if (list) return { form: "exec", args: list };
    return { form: "shell", args: [this.#rest] };
  }

  #run(): InstructionBody {
    const command = this.#command();
    if (command.args.length === 0 || command.args[0] === "")
      throw this.#fail("RUN requires at least one argument", 0, 3);
    const network = this.#choice("network", ["default", "none", "host"] as const);
    const security = this.#choice("security", ["sandbox", "insecure"] as const);
    const device = this.#flags.find("device");
    if (device) throw dockerfileError(this.#source, device.position, "RUN --device is not supported", { length: 8 });
    return {
      kind: "run",
      command,
      heredocs: command.form === "shell" ? this.#line.heredocs : [],
      mounts: this.#flags.all("mount").map((flag) => parseMount(this.#source, flag)),
      ...(network ? { network } : {}),
      ...(security ? { security } : {}),
    };
  }

  #choice<T extends string>(name: string, allowed: readonly T[]): T | undefined {
    const flag = this.#flags.find(name);
    if (!flag) return undefined;
    const found = allowed.find((value) => value === flag.value);
    if (found) return found;
    const meant = nearest(flag.value ?? "", allowed);
    throw dockerfileError(this.#source, flag.position, `${name} mode ${JSON.stringify(flag.value)} is unsupported`, {
      length: name.length + 2,
      hint: meant ? `Did you mean ${meant}?` : `Known are ${allowed.join(", ")}.`,
    });
  }

  #copy(): CopyBody {
    const name = this.#kind.toUpperCase();
    const list = this.#json() ?? this.#words().map((word) => word.text);
    if (list.length < 2)
      throw this.#fail(
        `${name} requires at least two arguments, but only ${list.length} was provided`,
        0,
        name.length,
        `${name} SOURCE... DESTINATION`,
      );
    const heredocs = new Map(this.#line.heredocs.map((heredoc) => [heredoc.name, heredoc]));
    const inlineFiles = [];
    const sources = [];
    for (const word of list.slice(0, -1)) {
      const delimiter = /^<<-?(["']?)(.+?)\1$/.exec(word)?.[2];
      const heredoc = delimiter === undefined ? undefined : heredocs.get(delimiter);
      if (heredoc) inlineFiles.push({ name: heredoc.name, content: heredoc.content, expand: heredoc.expand });
      else sources.push(word);
    }
    const [from, chown, chmod, checksum] = ["from", "chown", "chmod", "checksum"].map((flag) => this.#flags.text(flag));
    return {
      sources,
      inlineFiles,
      destination: list.at(-1)!,
      ...(from === undefined ? {} : { from }),
      ...(chown === undefined ? {} : { chown }),
      ...(chmod === undefined ? {} : { chmod }),
      ...(checksum === undefined ? {} : { checksum }),
      link: this.#flags.bool("link"),
      parents: this.#flags.bool("parents"),
      exclude: this.#flags.all("exclude").map((flag) => flag.value!),
      ...(this.#flags.has("keep-git-dir") ? { keepGitDir: this.#flags.bool("keep-git-dir") } : {}),
      ...(this.#flags.has("unpack") ? { unpack: this.#flags.bool("unpack") } : {}),
    };
  }

  /** `K=V K2="V 2"`, or the old `K the rest of the line`. */
  #pairs(): KeyValue[] {
    const name = this.#kind.toUpperCase();
    const words = this.#words();
    const first = words[0];
    if (!first) throw this.#fail(`${name} requires at least one argument`, 0, name.length);
    if (!first.text.includes("=")) {
      const value = this.#rest.slice(first.text.length).trim();
      if (words.length < 2)
        throw this.#fail(
          `${name} must have two arguments`,
          first.offset,
          first.text.length,
          `${name} ${first.text}=VALUE`,
        );
      return [{ key: first.text, value }];
    }
    return words.map((word) => {
      const equals = word.text.indexOf("=");
      if (equals < 0)
        throw this.#fail(
          `Syntax error - can't find = in ${JSON.stringify(word.text)}. Must be of the form: name=value`,
          word.offset,
          word.text.length,
        );
      if (equals === 0) throw this.#fail(`${name} names can not be blank`, word.offset, word.text.length);
      return { key: word.text.slice(0, equals), value: word.text.slice(equals + 1) };
    });
  }

  #volume(): InstructionBody {
    const paths = this.#json() ?? this.#words().map((word) => word.text);
    if (paths.length === 0 || paths.some((path) => path.trim() === ""))
      throw this.#fail("VOLUME specified can not be an empty string", 0, 6);
    return { kind: "volume", paths };
  }

  #shell(): InstructionBody {
    const args = this.#json();
    if (!args || args.length === 0)
      throw this.#fail(
        "SHELL requires the arguments to be in JSON form",
        0,
        5,
        'For example SHELL ["/bin/bash", "-c"]',
      );
    return { kind: "shell", args };
  }

  #healthcheck(): HealthcheckBody {
    const [, type = "", tail = ""] = /^(\S*)\s*([\s\S]*)$/.exec(this.#rest) ?? [];
    if (type.toUpperCase() === "NONE") {
      if (tail !== "") throw this.#fail("HEALTHCHECK NONE takes no arguments", 0, 11);
      return {};
    }
    if (type.toUpperCase() !== "CMD")
      throw this.#fail(`Unknown type ${JSON.stringify(type)} in HEALTHCHECK (try CMD)`, this.#at, type.length || 1);
    if (tail === "") throw this.#fail("Missing command after HEALTHCHECK CMD", this.#at, 3);
    let command: CommandLine = { form: "shell", args: [tail] };
    if (tail.startsWith("[")) {
      try {
        command = { form: "exec", args: JSON.parse(tail) as string[] };
      } catch {
        // The shell form, as Docker has it.
      }
    }
    const [interval, timeout, startPeriod, startInterval] = [
      "interval",
      "timeout",
      "start-period",
      "start-interval",
    ].map((name) => this.#duration(name));
    const retries = this.#flags.find("retries");
    if (retries && !/^\d{1,6}$/.test(retries.value!))
      throw dockerfileError(this.#source, retries.position, `--retries must be a whole number, not ${retries.value}`, {
        length: 9,
      });
    return {
      command,
      ...(interval === undefined ? {} : { intervalNanos: interval }),
      ...(timeout === undefined ? {} : { timeoutNanos: timeout }),
      ...(startPeriod === undefined ? {} : { startPeriodNanos: startPeriod }),
      ...(startInterval === undefined ? {} : { startIntervalNanos: startInterval }),
      ...(retries ? { retries: Number(retries.value) } : {}),
    };
  }

  #duration(name: string): number | undefined {
    const flag = this.#flags.find(name);
    if (!flag) return undefined;
    const nanos = parseDurationNanos(flag.value!);
    const fail = (what: string) =>
      dockerfileError(this.#source, flag.position, what, {
        length: name.length + 2,
        hint: "Durations are written like 30s, 1m30s or 500ms.",
      });
    if (nanos === undefined) throw fail(`invalid duration ${JSON.stringify(flag.value)} for --${name}`);
    if (nanos !== 0 && nanos < 1e6) throw fail(`interval ${JSON.stringify(name)} cannot be less than 1ms`);
    return nanos;
  }

  #onbuild(): InstructionBody {
    const trigger = /^\S*/.exec(this.#rest)![0].toUpperCase();
    if (trigger === "") throw this.#fail("ONBUILD requires at least one argument", 0, 7);
    if (trigger === "ONBUILD") throw this.#fail("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed", this.#at, 7);
    if (["FROM", "MAINTAINER"].includes(trigger))
      throw this.#fail(`${trigger} isn't allowed as an ONBUILD trigger`, this.#at, trigger.length);
    const documents = this.#line.heredocs.map((heredoc) => `${heredoc.content}${heredoc.name}\n`).join("");
    const text = this.#rest + (documents ? `\n${documents}` : "");
    parseLine(this.#source, this.#escape, {
      ...this.#line,
      text: this.#rest,
      positionAt: (offset) => this.#line.positionAt(offset + this.#at),
    });
    return { kind: "onbuild", trigger: text };
  }
}

/** Go's time.ParseDuration; undefined when it isn't one. */
export function parseDurationNanos(text: string): number | undefined {
  const ms = parseDurationMs(text);
  return ms === undefined ? undefined : Math.round(ms * 1e6);
}
