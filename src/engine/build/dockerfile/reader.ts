/**
 * The first pass over a Dockerfile: parser directives, comments, continued lines and here-documents become logical lines, each of which
 * still knows where in the file every one of its characters stood.
 * https://docs.docker.com/reference/dockerfile/#format
 */
import { KiB, MiB } from "../../../base/index.ts";
import { splitWords, type Word } from "./lex.ts";
import { dockerfileError, Source, type Position } from "./source.ts";

/** Bounds for a Dockerfile, which anybody may send. */
const MAX_DOCKERFILE_BYTES = 8 * MiB;
const MAX_LOGICAL_LINE_CHARS = 1024 * KiB;
const MAX_INSTRUCTIONS = 10_000;

export interface Heredoc {
  readonly name: string;
  readonly content: string;
  /** False when the delimiter was quoted: the content is taken as it is. */
  readonly expand: boolean;
  /** File descriptor before `<<`, for RUN. */
  readonly fd: number;
}

export interface LogicalLine {
  /** The instruction with continuations joined and comments taken out. */
  readonly text: string;
  readonly startLine: number;
  readonly endLine: number;
  readonly heredocs: readonly Heredoc[];
  /** Where a character of `text` stands in the file. */
  readonly positionAt: (offset: number) => Position;
}

export interface Directives {
  readonly syntax?: string;
  readonly escape: string;
  readonly check?: { readonly skip: readonly string[]; readonly error: boolean };
}

export interface Document {
  readonly source: Source;
  readonly directives: Directives;
  readonly lines: readonly LogicalLine[];
  /** Where instructions with blank lines in them begin. */
  readonly emptyContinuations: readonly number[];
}

const HEREDOC_INSTRUCTIONS = /^(?:ONBUILD\s+)?(?:RUN|COPY|ADD)\s/i;
const HEREDOC = /^(\d*)<<(-?)([^<]+)$/;

/** Throws invalidArgument with line, column and excerpt. */
export function readDocument(text: string, name = "Dockerfile"): Document {
  const source = new Source(name, text);
  if (text.length > MAX_DOCKERFILE_BYTES)
    throw dockerfileError(source, { line: 1, column: 1 }, `the file is larger than ${MAX_DOCKERFILE_BYTES} bytes`);
  const { directives, firstLine } = readDirectives(source);
  return new LineReader(source, directives, firstLine).read();
}

function readDirectives(source: Source): { directives: Directives; firstLine: number } {
  const seen = new Map<string, string>();
  let line = 0;
  for (; line < source.lines.length; line++) {
    const match = /^#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(.+?)\s*$/.exec(source.lines[line]!.trimStart());
    const key = match?.[1]!.toLowerCase();
    // What isn't a known directive is a comment, and after a comment nothing is a directive any more.
    if (!match || !key || !["syntax", "escape", "check"].includes(key)) break;
    const at = { line: line + 1, column: 1 };
    if (seen.has(key)) throw dockerfileError(source, at, `only one ${key} parser directive can be used`);
    if (key === "escape" && match[2] !== "\\" && match[2] !== "`")
      throw dockerfileError(source, at, `invalid ESCAPE '${match[2]}', must be either \\ or \``, {
        length: source.lines[line]!.length,
      });
    seen.set(key, match[2]!);
  }
  const syntax = seen.get("syntax");
  const check = seen.get("check");
  return {
    firstLine: line,
    directives: {
      escape: seen.get("escape") ?? "\\",
      ...(syntax === undefined ? {} : { syntax }),
      ...(check === undefined ? {} : { check: parseCheck(check) }),
    },
  };
}

function parseCheck(text: string): { skip: string[]; error: boolean } {
  const parts = Object.fromEntries(text.split(";").map((part) => part.split("=").map((side) => side.trim())));
  return {
    skip: ((parts["skip"] as string | undefined) ?? "")
      .split(",")
      .map((rule) => rule.trim())
      .filter(Boolean),
    error: parts["error"] === "true",
  };
}

interface Segment {
  readonly offset: number;
  readonly line: number;
  readonly column: number;
}

class LineReader {
  readonly #source: Source;
  readonly #directives: Directives;
  readonly #continuation: RegExp;
  readonly #lines: LogicalLine[] = [];
  readonly #emptyContinuations: number[] = [];
  #next: number;

  constructor(source: Source, directives: Directives, firstLine: number) {
    this.#source = source;
    this.#directives = directives;
    this.#continuation = directives.escape === "\\" ? /\\[ \t]*$/ : /`[ \t]*$/;
    this.#next = firstLine;
  }

  read(): Document {
    while (this.#next < this.#source.lines.length) {
      const line = this.#source.lines[this.#next]!;
      if (line.trim() === "" || isComment(line)) this.#next++;
      else this.#add(this.#readInstruction());
      if (this.#lines.length > MAX_INSTRUCTIONS)
        throw this.#error(this.#next, `more than ${MAX_INSTRUCTIONS} instructions`);
    }
    if (this.#lines.length === 0) throw this.#error(0, "file with no instructions");
    const [source, directives] = [this.#source, this.#directives];
    return { source, directives, lines: this.#lines, emptyContinuations: this.#emptyContinuations };
  }

  /** A lone continuation joins nothing to nothing. */
  #add(line: LogicalLine): void {
    if (line.text.trim() !== "") this.#lines.push(line);
  }

  #error(index: number, what: string) {
    return dockerfileError(this.#source, { line: index + 1, column: 1 }, what);
  }

  #readInstruction(): LogicalLine {
    const start = this.#next;
    const segments: Segment[] = [];
    let text = "";
    let emptyContinuation = false;
    for (let first = true; this.#next < this.#source.lines.length; first = false) {
      const index = this.#next++;
      const raw = this.#source.lines[index]!;
      if (!first && isComment(raw)) continue;
      if (!first && raw.trim() === "") {
        emptyContinuation = true;
        continue;
      }
      const indent = first ? raw.length - raw.trimStart().length : 0;
      const line = raw.slice(indent);
      const continues = this.#continuation.test(line);
      segments.push({ offset: text.length, line: index + 1, column: indent + 1 });
      text += continues ? line.replace(this.#continuation, "") : line;
      if (text.length > MAX_LOGICAL_LINE_CHARS)
        throw this.#error(index, `an instruction is longer than ${MAX_LOGICAL_LINE_CHARS} characters`);
      if (!continues) break;
    }
    if (emptyContinuation) this.#emptyContinuations.push(start + 1);
    const heredocs = HEREDOC_INSTRUCTIONS.test(text) ? this.#readHeredocs(text, start) : [];
    return { text, startLine: start + 1, endLine: this.#next, heredocs, positionAt: positions(segments) };
  }

  #readHeredocs(text: string, start: number): Heredoc[] {
    if (!text.includes("<<")) return [];
    let words: Word[];
    try {
      words = splitWords(text, this.#directives.escape);
    } catch {
      // Unbalanced quotes: the shell will complain about them, a here-document there isn't.
      return [];
    }
    return words.flatMap((word) => this.#readHeredoc(word.text, start) ?? []);
  }

  #readHeredoc(word: string, start: number): Heredoc | undefined {
    const match = HEREDOC.exec(word);
    if (!match) return undefined;
    const [, fd, dash, delimiter = ""] = match;
    const name = delimiter.replace(/^(["'])(.*)\1$/, "$2");
    if (name === "" || /["']/.test(name)) return undefined;
    const content: string[] = [];
    for (;;) {
      if (this.#next >= this.#source.lines.length)
        throw this.#error(start, `unterminated heredoc: no line is just '${name}'`);
      const raw = this.#source.lines[this.#next++]!;
      const line = dash ? raw.replace(/^\t+/, "") : raw;
      if (line === name) break;
      content.push(line + "\n");
    }
    return { name, content: content.join(""), expand: name === delimiter, fd: fd ? Number(fd) : 0 };
  }
}

function isComment(line: string): boolean {
  return line.trimStart().startsWith("#");
}

function positions(segments: readonly Segment[]): (offset: number) => Position {
  return (offset) => {
    const segment = segments.findLast((candidate) => candidate.offset <= offset) ?? segments[0]!;
    return { line: segment.line, column: segment.column + (offset - segment.offset) };
  };
}
