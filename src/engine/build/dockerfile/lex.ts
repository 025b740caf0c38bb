/**
 * Words, quotes and variables as Dockerfiles know them: like a shell's, with fewer forms.
 * https://docs.docker.com/reference/dockerfile/#environment-replacement
 */
import { invalidArgument } from "../../../base/index.ts";

/** A word as written, quotes and escapes included, and where it begins. */
export interface Word {
  readonly text: string;
  readonly offset: number;
}

/** Splits at unquoted blanks and leaves everything else as written. Throws invalidArgument for an unbalanced quote. */
export function splitWords(text: string, escape: string, from = 0): Word[] {
  const words: Word[] = [];
  let offset = from;
  while (offset < text.length) {
    if (/\s/.test(text[offset]!)) {
      offset++;
      continue;
    }
    const end = wordEnd(text, offset, escape);
    words.push({ text: text.slice(offset, end), offset });
    offset = end;
  }
  return words;
}

/** The offset behind the word that begins at `offset`. */
export function wordEnd(text: string, offset: number, escape: string): number {
  let quote = "";
  let at = offset;
  for (; at < text.length; at++) {
    const char = text[at]!;
    if (char === escape && quote !== "'") at++;
    else if (quote) quote = char === quote ? "" : quote;
    else if (char === '"' || char === "'") quote = char;
    else if (/\s/.test(char)) break;
  }
  if (quote) throw invalidArgument(`unexpected end of statement while looking for matching ${quoteName(quote)}`);
  return Math.min(at, text.length);
}

const quoteName = (quote: string) => (quote === '"' ? "double-quote" : "single-quote");

/** Variables by name. What isn't in it is unset, which is not the same as empty. */
export type Variables = ReadonlyMap<string, string>;

export interface ExpandOptions {
  readonly escape: string;
  /** Quotes stay as they are and mean nothing: for here-documents. */
  readonly keepQuotes?: boolean;
  /** Told of each name that is looked up and not set. */
  readonly onUnset?: (name: string) => void;
}

/** Replaces variables and takes quotes and escapes away; blanks stay. Throws invalidArgument for a bad substitution. */
export function expandWord(text: string, variables: Variables, options: ExpandOptions): string {
  return new Expander(text, variables, options).run().result;
}

/** As `expandWord`, then splits at blanks that weren't quoted, those of variables' values included. */
export function expandWords(text: string, variables: Variables, options: ExpandOptions): string[] {
  return new Expander(text, variables, options).run().words;
}

/** Nesting of `${a:-${b:-…}}`. */
const MAX_DEPTH = 100;
/** What one word may grow to. */
const MAX_EXPANDED_CHARS = 8 * 1024 * 1024;

class WordCollector {
  result = "";
  readonly words: string[] = [];
  #word = "";
  #inWord = false;

  raw(text: string): void {
    this.result += text;
    this.#word += text;
    this.#inWord = true;
    if (this.result.length > MAX_EXPANDED_CHARS) throw invalidArgument("a word expands to more than 8 MiB");
  }
  splitting(text: string): void {
    for (const char of text) {
      if (/\s/.test(char)) {
        this.result += char;
        this.#flush();
      } else this.raw(char);
    }
  }
  finish(): this {
    this.#flush();
    return this;
  }
  #flush(): void {
    if (this.#inWord && this.#word !== "") this.words.push(this.#word);
    this.#word = "";
    this.#inWord = false;
  }
}

class Expander {
  readonly #text: string;
  readonly #variables: Variables;
  readonly #options: ExpandOptions;
  #at = 0;
  #depth = 0;

  constructor(text: string, variables: Variables, options: ExpandOptions) {
    this.#text = text;
    this.#variables = variables;
    this.#options = options;
  }

  run(): WordCollector {
    return this.#until("", false);
  }

  #until(stop: string, rawEscapes: boolean): WordCollector {
    if (++this.#depth > MAX_DEPTH) throw invalidArgument("substitutions are nested too deeply");
    const out = new WordCollector();
    for (; this.#at < this.#text.length;) {
      const char = this.#text[this.#at]!;
      if (stop && char === stop) {
        this.#at++;
        this.#depth--;
        return out.finish();
      }
      if (char === "$") out.splitting(this.#dollar());
      else if (char === "'" && !this.#options.keepQuotes) out.raw(this.#single());
      else if (char === '"' && !this.#options.keepQuotes) out.raw(this.#double());
      else if (char === this.#options.escape) this.#escaped(out, rawEscapes);
      else {
        this.#at++;
        out.splitting(char);
      }
    }
    if (stop) throw invalidArgument(`syntax error: missing '${stop}' in substitution`);
    this.#depth--;
    return out.finish();
  }

  #escaped(out: WordCollector, rawEscapes: boolean): void {
    const char = this.#text[this.#at]!;
    const next = this.#text[this.#at + 1];
    this.#at += 2;
    // In a here-document only what would begin a substitution needs escaping.
    const keep = rawEscapes || (this.#options.keepQuotes && next !== "$" && next !== this.#options.escape);
    if (keep) out.raw(char);
    if (next !== undefined) out.raw(next);
  }

  #single(): string {
    const end = this.#text.indexOf("'", this.#at + 1);
    if (end < 0) throw invalidArgument("unexpected end of statement while looking for matching single-quote");
    const inside = this.#text.slice(this.#at + 1, end);
    this.#at = end + 1;
    return inside;
  }

  #double(): string {
    const { escape } = this.#options;
    let inside = "";
    this.#at++;
    for (; this.#at < this.#text.length;) {
      const char = this.#text[this.#at]!;
      if (char === '"') {
        this.#at++;
        return inside;
      }
      if (char === "$") {
        inside += this.#dollar();
        continue;
      }
      const next = this.#text[this.#at + 1];
      if (char === escape && next !== undefined && ['"', "$", escape].includes(next)) {
        inside += next;
        this.#at += 2;
        continue;
      }
      inside += char;
      this.#at++;
    }
    throw invalidArgument("unexpected end of statement while looking for matching double-quote");
  }

  #lookup(name: string): string | undefined {
    const value = this.#variables.get(name);
    if (value === undefined) this.#options.onUnset?.(name);
    return value;
  }

  #dollar(): string {
    this.#at++;
    if (this.#text[this.#at] !== "{") {
      const name = this.#name();
      return name === "" ? "$" : (this.#lookup(name) ?? "");
    }
    this.#at++;
    const name = this.#name();
    if (name === "") throw invalidArgument("syntax error: bad substitution, ${} needs a variable's name");
    const operator = this.#text[this.#at++];
    if (operator === undefined) throw invalidArgument("syntax error: missing '}'");
    if (operator === "}") return this.#lookup(name) ?? "";
    if (operator === "/") return this.#replace(name);
    if (operator === "#" || operator === "%") return this.#trim(name, operator);
    const nullIsUnset = operator === ":";
    const modifier = nullIsUnset ? this.#text[this.#at++] : operator;
    if (modifier === undefined || !"-+?".includes(modifier))
      throw invalidArgument(`unsupported modifier (${nullIsUnset ? ":" : ""}${modifier ?? ""}) in substitution`, {
        hint: "Known are :- - :+ + :? ? # ## % %% / and //.",
      });
    return this.#default(name, modifier, nullIsUnset);
  }

  #default(name: string, modifier: string, nullIsUnset: boolean): string {
    const word = this.#until("}", false).result;
    const value = modifier === "?" ? this.#lookup(name) : this.#variables.get(name);
    const missing = value === undefined || (nullIsUnset && value === "");
    if (modifier === "-") return missing ? word : value;
    if (modifier === "+") return missing ? "" : word;
    if (missing) {
      const fallback = value === undefined ? "is not allowed to be unset" : "is not allowed to be empty";
      throw invalidArgument(`${name}: ${word || fallback}`);
    }
    return value;
  }

  #trim(name: string, operator: "#" | "%"): string {
    let pattern = this.#until("}", true).result;
    const value = this.#lookup(name) ?? "";
    const longest = pattern.startsWith(operator);
    if (longest) pattern = pattern.slice(1);
    const regex = globRegex(pattern, longest);
    if (operator === "#") return value.replace(new RegExp(`^(?:${regex})`, "s"), "");
    // The shortest suffix is the one that begins last.
    const whole = new RegExp(`^(?:${globRegex(pattern, true)})$`, "s");
    const starts = Array.from({ length: value.length + 1 }, (_, index) => index);
    const begin = (longest ? starts : starts.reverse()).find((index) => whole.test(value.slice(index)));
    return begin === undefined ? value : value.slice(0, begin);
  }

  #replace(name: string): string {
    const all = this.#text[this.#at] === "/";
    if (all) this.#at++;
    const pattern = this.#until("/", true).result;
    const replacement = this.#until("}", true).result.replaceAll(`${this.#options.escape}}`, "}");
    const value = this.#lookup(name) ?? "";
    if (pattern === "") return value;
    const regex = new RegExp(globRegex(pattern, true), all ? "gs" : "s");
    return value.replace(regex, () => replacement);
  }

  #name(): string {
    const rest = this.#text.slice(this.#at, this.#at + 1);
    const pattern = /[0-9]/.test(rest) ? /[0-9]+/y : /[@*#?\-$!]/.test(rest) ? /./y : /[\p{L}\p{N}_]+/uy;
    pattern.lastIndex = this.#at;
    const match = pattern.exec(this.#text)?.[0] ?? "";
    this.#at += match.length;
    return match;
  }
}

/** A shell pattern (`*`, `?`, backslash) as the source of a regular expression. Runs of `*` fold into one, against backtracking. */
function globRegex(pattern: string, greedy: boolean): string {
  let regex = "";
  for (let at = 0; at < pattern.length; at++) {
    const char = pattern[at]!;
    if (char === "*") {
      while (pattern[at + 1] === "*") at++;
      regex += greedy ? ".*" : ".*?";
    } else if (char === "?") regex += ".";
    else if (char === "\\" && at + 1 < pattern.length) regex += quoteRegex(pattern[++at]!);
    else regex += quoteRegex(char);
  }
  return regex;
}

function quoteRegex(char: string): string {
  return char.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&");
}
