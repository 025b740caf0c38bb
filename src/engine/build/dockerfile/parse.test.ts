import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { messageOf } from "../../../base/index.ts";
import { lint } from "./lint.ts";
import { parseDockerfile, parseDurationNanos } from "./parse.ts";

const parse = (text: string) => parseDockerfile(text).instructions;
const only = (text: string) => parse(text)[0]!;

/** Without where it stands. */
function body(text: string) {
  const { line: _, text: __, ...rest } = only(text);
  return rest;
}

function refuse(text: string): string {
  try {
    parse(text);
  } catch (error) {
    assert.equal((error as { code?: string }).code, "invalidArgument");
    return messageOf(error);
  }
  return assert.fail(`accepted: ${text}`);
}

test("continuations, comments in between, and where each character stood", () => {
  const instruction = only("# comment\n\nRUN a && \\\n  # inside\n\n  b --flag \\\n c\n");
  assert.equal(instruction.kind === "run" && instruction.command.args[0], "a &&   b --flag  c");
  assert.deepEqual([instruction.line.startLine, instruction.line.endLine], [3, 7]);
  assert.deepEqual(instruction.line.positionAt(instruction.line.text.indexOf("--flag")), { line: 6, column: 5 });
});

test("parser directives", () => {
  const file = parseDockerfile("# syntax=docker/dockerfile:1\n# escape=`\n# check=skip=A,B;error=true\nFROM a`\nb\n");
  assert.deepEqual(file.directives, {
    syntax: "docker/dockerfile:1",
    escape: "`",
    check: { skip: ["A", "B"], error: true },
  });
  assert.equal(file.instructions[0]!.line.text, "FROM ab");
  assert.equal(
    parseDockerfile("# a comment\n# escape=`\nFROM a\n").directives.escape,
    "\\",
    "after a comment nothing is a directive",
  );
  assert.match(refuse("# escape=x\nFROM a\n"), /invalid ESCAPE 'x'/);
  assert.match(refuse("# escape=`\n# escape=`\nFROM a\n"), /only one escape parser directive/);
});

test("both forms of commands; what looks like JSON and isn't goes to the shell", () => {
  const command = (text: string) => (only(text) as { command?: unknown }).command;
  assert.deepEqual(command('CMD ["a", "b c"]'), { form: "exec", args: ["a", "b c"] });
  assert.deepEqual(command("CMD ['a', 'b']"), { form: "shell", args: ["['a', 'b']"] });
  assert.deepEqual(command("ENTRYPOINT a $B"), { form: "shell", args: ["a $B"] });
});

test("here-documents: several, quoted, with tabs stripped, and not in a shift or a string", () => {
  const run = only("RUN cat <<-ONE > /a; cat <<'TWO'\n\tone\n\tONE\n\ttwo $X\nTWO\n");
  assert.deepEqual(run.line.heredocs, [
    { name: "ONE", content: "one\n", expand: true, fd: 0 },
    { name: "TWO", content: "\ttwo $X\n", expand: false, fd: 0 },
  ]);
  assert.equal(parse("RUN echo $((1<<2)) '<<EOF' <<<x\nRUN b\n").length, 2);
  assert.match(refuse("RUN <<EOF\nx\n"), /unterminated heredoc/);
});

test("ENV, LABEL, ARG and their old forms", () => {
  const pairs = (text: string) => (only(text) as { pairs?: unknown }).pairs;
  assert.deepEqual(pairs('ENV A=1 B="x y" C=a\\ b'), [
    { key: "A", value: "1" },
    { key: "B", value: '"x y"' },
    { key: "C", value: "a\\ b" },
  ]);
  assert.deepEqual(pairs("ENV KEY some value"), [{ key: "KEY", value: "some value" }]);
  assert.match(refuse("ENV A=1 B"), /can't find = in "B"/);
  assert.match(refuse("ENV A"), /must have two arguments/);
  assert.deepEqual(body("ARG A B=2"), { kind: "arg", args: [{ name: "A" }, { name: "B", value: "2" }] });
});

test("flags are checked against what the instruction takes", () => {
  const copy = only("COPY --from=b --chown=1:2 --link --exclude=*.o --exclude=x a /b/");
  assert.ok(copy.kind === "copy");
  assert.deepEqual([copy.from, copy.chown, copy.link, copy.exclude], ["b", "1:2", true, ["*.o", "x"]]);
  assert.match(
    refuse("FROM a\nCOPY --form=x a b"),
    /unknown flag: --form\nDockerfile:2:6\n[\s\S]*\^{6}\nDid you mean --from\?/,
  );
  assert.match(refuse("RUN --mount=type=secrt,id=x y"), /unsupported mount type "secrt"[\s\S]*Did you mean secret\?/);
  assert.match(refuse("RUN --mount=type=cache,targt=/x y"), /unexpected key 'targt'[\s\S]*Did you mean target\?/);
  assert.match(refuse("RUN --mount=type=cache y"), /missing target/);
  assert.match(refuse("RUN --network=hots y"), /Did you mean host\?/);
  assert.match(refuse("USER --x y"), /takes no flags/);
  assert.match(refuse("COPY --link=maybe a b"), /expecting boolean value/);
});

test("HEALTHCHECK", () => {
  assert.deepEqual(body("HEALTHCHECK --interval=1m30s --retries=3 CMD curl x"), {
    kind: "healthcheck",
    command: { form: "shell", args: ["curl x"] },
    intervalNanos: 90e9,
    retries: 3,
  });
  assert.equal((only("HEALTHCHECK NONE") as { command?: unknown }).command, undefined);
  assert.match(refuse("HEALTHCHECK --interval=1x CMD y"), /invalid duration "1x"/);
  assert.match(refuse("HEALTHCHECK curl x"), /Unknown type "curl"/);
  assert.equal(parseDurationNanos("1h0.5s"), 3600.5e9);
});

test("malformed instructions say what they want", () => {
  for (const [text, what] of [
    ["", /no instructions/],
    ["FORM a", /unknown instruction: FORM[\s\S]*Did you mean FROM\?/],
    ["FROM a b", /one or three arguments/],
    ["FROM a AS 1x", /invalid name for build stage/],
    ["COPY a", /at least two arguments, but only 1/],
    ["SHELL sh", /JSON form/],
    ["ONBUILD ONBUILD RUN x", /Chaining ONBUILD/],
    ["ONBUILD FROM x", /isn't allowed as an ONBUILD trigger/],
    ["WORKDIR", /requires exactly one argument/],
    ["ARG =x", /can not be blank/],
  ] as const) {
    assert.match(refuse(text), what, text);
  }
});

test("whatever the text, parsing ends, and throws invalidArgument with a place or not at all", () => {
  const words = fc.constantFrom(
    "FROM",
    "AS",
    "ENV",
    "EXPOSE",
    "WORKDIR",
    "CMD",
    "# check=skip=",
    "RUN",
    "COPY",
    "<<EOF",
    "EOF",
    "\\",
    "\n",
    " ",
    '"',
    "'",
    "[",
    "]",
    "--mount=",
    "type=bind",
    "=",
    "#",
    "a",
    "$",
    ",",
  );
  fc.assert(
    fc.property(fc.array(words, { maxLength: 30 }), (parts) => {
      try {
        lint(parseDockerfile(parts.join("")));
      } catch (error) {
        const { code, details } = error as { code?: string; details: Record<string, unknown> };
        assert.equal(code, "invalidArgument");
        assert.equal(typeof details["line"], "number");
      }
    }),
    { numRuns: 1000 },
  );
});
