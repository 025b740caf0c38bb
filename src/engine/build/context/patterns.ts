/**
 * Patterns of .dockerignore and `--exclude`, and wildcards of COPY sources.
 * https://docs.docker.com/build/concepts/context/#dockerignore-files, Go's path/filepath.Match
 */
import { invalidArgument } from "../../../base/index.ts";

const MAX_PATTERNS = 10_000;

interface Pattern {
  readonly regex: RegExp;
  readonly negated: boolean;
  /** What stands before the first wildcard. */
  readonly literal: string;
}

/** The lines of a .dockerignore that mean something. */
export function readIgnoreFile(text: string): string[] {
  return text
    .replace(/^\uFEFF/, "")
    .split(/\r?\n/)
    .filter((line) => !line.startsWith("#"))
    .map((line) => line.trim())
    .filter((line) => line !== "");
}

/**
 * True for paths (and everything below them) that the last matching pattern excludes. A directory stays visible while an exception (`!`)
 * could stand below it; what is in it answers for itself.
 */
export function ignoreMatcher(lines: readonly string[]): (name: string, isDirectory: boolean) => boolean {
  if (lines.length > MAX_PATTERNS) throw invalidArgument(`more than ${MAX_PATTERNS} patterns to ignore`);
  const patterns = lines.map(compile).filter((pattern) => pattern !== undefined);
  const exceptions = patterns.filter((pattern) => pattern.negated);
  const ignored = (name: string): boolean => {
    const ancestors = prefixes(name);
    let result = false;
    for (const { regex, negated } of patterns) {
      if (negated === result && ancestors.some((prefix) => regex.test(prefix))) result = !negated;
    }
    return result;
  };
  return (name, isDirectory) =>
    ignored(name) && !(isDirectory && exceptions.some((exception) => couldReachBelow(exception.literal, `${name}/`)));
}

/** Whether a pattern that begins with `literal` could match something in `directory`. */
function couldReachBelow(literal: string, directory: string): boolean {
  return literal.startsWith(directory) || directory.startsWith(literal);
}

function compile(line: string): Pattern | undefined {
  const negated = line.startsWith("!");
  const cleaned = clean(negated ? line.slice(1).trim() : line);
  if (cleaned === "") {
    if (negated) throw invalidArgument('illegal exclusion pattern: "!"');
    return undefined;
  }
  return { regex: globRegex(cleaned), negated, literal: /^[^*?[\\]*/.exec(cleaned)![0] };
}

/** Go's filepath.Clean, with the leading slash off. */
function clean(pattern: string): string {
  const parts: string[] = [];
  for (const part of pattern.split("/")) {
    if (part === "" || part === ".") continue;
    if (part === ".." && parts.length > 0 && parts.at(-1) !== "..") parts.pop();
    else if (part !== "..") parts.push(part);
  }
  return parts.join("/");
}

function prefixes(name: string): string[] {
  const parts = name.split("/");
  return parts.map((_, index) => parts.slice(0, index + 1).join("/"));
}

/** `*` and `?` stay inside a name, `**` spans any number of them, `[…]` is a class, backslash quotes. */
export function globRegex(pattern: string): RegExp {
  let regex = "^";
  for (let at = 0; at < pattern.length; at++) {
    const char = pattern[at]!;
    if (char === "*" && pattern[at + 1] === "*") {
      while (pattern[at + 1] === "*") at++;
      if (pattern[at + 1] === "/") {
        at++;
        regex += "(?:.*/)?";
      } else regex += ".*";
    } else if (char === "*") regex += "[^/]*";
    else if (char === "?") regex += "[^/]";
    else if (char === "[") {
      const end = pattern.indexOf("]", at + 2);
      if (end < 0) throw invalidArgument(`syntax error in pattern ${JSON.stringify(pattern)}: [ without ]`);
      const inside = pattern.slice(at + 1, end).replace(/[\\[\]]/g, "\\$&");
      regex += `[${inside}]`;
      at = end;
    } else if (char === "\\" && at + 1 < pattern.length) regex += quote(pattern[++at]!);
    else regex += quote(char);
  }
  try {
    return new RegExp(regex + "$", "s");
  } catch (error) {
    throw invalidArgument(`syntax error in pattern ${JSON.stringify(pattern)}`, { cause: error });
  }
}

export function hasWildcard(pattern: string): boolean {
  return /[*?[]/.test(pattern);
}

function quote(char: string): string {
  return char.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&");
}
