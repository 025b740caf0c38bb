import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { messageOf } from "../../../base/index.ts";
import { expandWord, expandWords, splitWords } from "./lex.ts";

const variables = new Map([
  ["A", "alpha"],
  ["EMPTY", ""],
  ["PATHS", "/usr/local/bin"],
  ["TAR", "foo.tar.gz"],
  ["SP", "a b"],
]);
const expand = (text: string, escape = "\\") => expandWord(text, variables, { escape });

test("substitutions", () => {
  const table: [string, string][] = [
    ["$A-$B", "alpha-"],
    ["${A}x", "alphax"],
    ["\\$A", "$A"],
    ["'$A'", "$A"],
    ['"$A b"', "alpha b"],
    ['"\\"$A\\""', '"alpha"'],
    ["${B:-none}", "none"],
    ["${EMPTY:-none}", "none"],
    ["${EMPTY-none}", ""],
    ["${A:+set}", "set"],
    ["${EMPTY:+set}", ""],
    ["${EMPTY+set}", "set"],
    ["${B:-${A:+inner}}", "inner"],
    ["${A:?must}", "alpha"],
    ["${PATHS#*/}", "usr/local/bin"],
    ["${PATHS##*/}", "bin"],
    ["${PATHS%/*}", "/usr/local"],
    ["${PATHS%%/*}", ""],
    ["${TAR%.*}", "foo.tar"],
    ["${TAR%%.*}", "foo"],
    ["${TAR#???}", ".tar.gz"],
    ["${PATHS/l/L}", "/usr/Local/bin"],
    ["${PATHS//l/L}", "/usr/LocaL/bin"],
    ["${PATHS/\\/usr/X}", "X/local/bin"],
    ["${PATHS//\\//_}", "_usr_local_bin"],
    ["$", "$"],
    ["a$", "a$"],
  ];
  for (const [text, wanted] of table) assert.equal(expand(text), wanted, text);
});

test("words are split after substitution, but not where quoted", () => {
  const words = (text: string) => expandWords(text, variables, { escape: "\\" });
  assert.deepEqual(words("$SP c"), ["a", "b", "c"]);
  assert.deepEqual(words('"$SP" c\\ d'), ["a b", "c d"]);
});

test("another escape character leaves backslashes alone", () => {
  assert.equal(expand("C:\\dir`$A", "`"), "C:\\dir$A");
});

test("here-documents keep their quotes", () => {
  const text = `say "$A" 'it' \\$A \\n`;
  assert.equal(expandWord(text, variables, { escape: "\\", keepQuotes: true }), `say "alpha" 'it' $A \\n`);
});

test("bad substitutions are refused", () => {
  for (const [text, what] of [
    ["${A", /missing '}'/],
    ["${}", /bad substitution/],
    ["${A:=x}", /unsupported modifier \(:=\)/],
    ["${B:?no B}", /B: no B/],
    ['"open', /matching double-quote/],
    ["'open", /matching single-quote/],
  ] as const) {
    assert.throws(
      () => expand(text),
      (error) => what.test(messageOf(error)),
      text,
    );
  }
});

test("whatever the input, expansion ends and never throws anything but invalidArgument", () => {
  const pieces = fc.array(fc.constantFrom("$", "{", "}", "A", ":-", "#", "%", "/", "*", "\\", '"', "'", " ", "x"), {
    maxLength: 40,
  });
  fc.assert(
    fc.property(pieces, (parts) => {
      for (const run of [expand, (text: string) => splitWords(text, "\\")]) {
        try {
          run(parts.join(""));
        } catch (error) {
          assert.equal((error as { code?: string }).code, "invalidArgument");
        }
      }
    }),
    { numRuns: 500 },
  );
});
