/** Holds the house: who may import whom and through which door, who may touch the platform, and what every room and record says of itself. */
import assert from "node:assert/strict";
import { globSync, readFileSync, existsSync, readdirSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";

const root = path.resolve(import.meta.dirname, "..");
const read = (file: string) => readFileSync(path.join(root, file), "utf8");
const layers = JSON.parse(read("scripts/layers.json")) as {
  floors: string[][];
  sameFloor: [string, string][];
  never: [string, string][];
  long: Record<string, string>;
  any: Record<string, string>;
};
const MAX_LINES = 500;
const floorOf = new Map(layers.floors.flatMap((rooms, floor) => rooms.map((room) => [room, floor] as const)));
const foldersOf = (folder: string) =>
  readdirSync(path.join(root, folder), { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && globSync(`${folder}/${entry.name}/**/*.ts`, { cwd: root }).length > 0)
    .map((entry) => `${folder}/${entry.name}`);
const rooms = foldersOf("src");
/** Rooms so big that their folders are rooms. */
const inner = [...foldersOf("src/engine"), ...foldersOf("src/node")];

const sources = globSync("src/**/*.ts", { cwd: root }).map((file) => {
  const text = read(file);
  const imports = [...text.matchAll(/(?:from|import)\s*\(?\s*["']([^"']+)["']/g)].map((match) => match[1]!);
  return {
    file,
    room: file.split(path.sep)[1]!,
    text,
    imports,
    isTest: /\.(test|suite)\.ts$|\/(testing|testdata)\//.test(file),
  };
});
/** Everything that people wrote: sources, tests, scripts, records. */
const written = globSync(
  [
    "*.{md,json}",
    "berth",
    ".ci/*",
    "{src,test,scripts,bench,web,examples,docs}/**/*.{ts,tsx,md,json,css,html,py,yaml,yml}",
  ],
  { cwd: root },
)
  .filter((file) => !/package-lock|generated|node_modules|^web\/dist/.test(file))
  .map((file) => ({ file, text: read(file) }));

/** Comments and what they quote are not code. */
const withoutComments = (text: string) => text.replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, "");

test("every room stands on a floor and has a door", () => {
  for (const room of rooms)
    assert.ok(floorOf.has(path.basename(room)), `${room} is on no floor of scripts/layers.json`);
  const closed = [...rooms, ...inner].filter((room) => !existsSync(path.join(root, room, "index.ts")));
  assert.deepEqual(closed, []);
});

test("every room's README says its purpose, its invariants and how to add to it", () => {
  const wrong: string[] = [];
  for (const room of [...rooms, ...inner]) {
    if (!existsSync(path.join(root, room, "README.md"))) {
      wrong.push(`${room} has no README.md`);
      continue;
    }
    const text = read(`${room}/README.md`);
    const [title, , purpose = ""] = text.split("\n");
    if (!title?.startsWith("# ") || purpose.length < 20) wrong.push(`${room}: title and purpose`);
    if (!/invariant/i.test(text)) wrong.push(`${room}: invariants`);
    if (!/how do I /i.test(text)) wrong.push(`${room}: how do I add…`);
  }
  assert.deepEqual(wrong, []);
});

test("rooms import only from lower floors", () => {
  const never = new Set(layers.never.map(([from, to]) => `${from}>${to}`));
  const same = new Set(layers.sameFloor.map(([from, to]) => `${from}>${to}`));
  const wrong: string[] = [];
  for (const { file, room, imports, isTest } of sources) {
    if (isTest) continue;
    for (const target of imports.filter((name) => name.startsWith("."))) {
      const resolved = path.relative(path.join(root, "src"), path.resolve(root, path.dirname(file), target));
      const other = resolved.split(path.sep)[0]!;
      if (other === room || other === "..") continue;
      const lower = (floorOf.get(other) ?? 99) < (floorOf.get(room) ?? -1) || same.has(`${room}>${other}`);
      if (!lower || never.has(`${room}>${other}`)) wrong.push(`${file}: ${room} may not import ${other} (${target})`);
      else if (path.basename(resolved) !== "index.ts")
        wrong.push(`${file}: ${other} is entered through a door (index.ts), not ${target}`);
    }
  }
  assert.deepEqual(wrong, []);
});

test("only host/ starts programs or makes syscalls; only base/ reads the clock, randomness and timers", () => {
  const wrong: string[] = [];
  for (const { file, room, text, imports, isTest } of sources) {
    if (isTest) continue;
    for (const name of imports) {
      if (["node:child_process", "child_process", "koffi", "node:ffi"].includes(name) && room !== "host")
        wrong.push(`${file}: ${name}`);
    }
    if (room === "base") continue;
    for (const [match] of withoutComments(text).matchAll(
      /\bDate\.now\(|\bMath\.random\(|(?<![.\w])(?:setTimeout|setInterval)\(|\bperformance\.now\(/g,
    )) {
      wrong.push(`${file}: ${match}`);
    }
  }
  assert.deepEqual(wrong, []);
});

test("node:http comes by getBuiltinModule: importing it loads undici (ADR 0171)", () => {
  const wrong = sources.filter(
    ({ text, isTest }) => !isTest && /^import (?!type )[^;]* from "node:http";$/m.test(text),
  );
  assert.deepEqual(
    wrong.map(({ file }) => file),
    [],
  );
});

test("a file has one subject: at most 500 lines, or a reason in scripts/layers.json", () => {
  const long = written
    .filter(({ file, text }) => file.endsWith(".ts") && text.split("\n").length > MAX_LINES)
    .map(({ file }) => file);
  assert.deepEqual(
    long.filter((file) => !layers.long[file]),
    [],
  );
});

test("nothing is left for later in a comment, and no type is given up", () => {
  const wrong: string[] = [];
  for (const { file, text } of written) {
    if (file === "test/architecture.test.ts") continue;
    for (const [match] of text.matchAll(/\b(?:TODO|FIXME|HACK)\b|@ts-(?:ignore|nocheck)/g))
      wrong.push(`${file}: ${match}`);
    if (!/^src.*\.tsx?$/.test(file) || layers.any[file]) continue;
    for (const [match] of withoutComments(text).matchAll(/(?:\bas any\b|: any\b(?=[\s,;)=>[])|<any>|<any,|, any>)/g))
      wrong.push(`${file}: ${match}`);
  }
  assert.deepEqual(wrong, []);
});

test("nothing names the machine it was written on", () => {
  const machine =
    /(?<![\w.])\/work\/(?:main|shared)|\/tmp\/(?:helpers|h-)|pkg\.dev|codeartifact|\.jfrog\.io|"resolved": /;
  const wrong = [...written, { file: "package-lock.json", text: read("package-lock.json") }]
    .filter(({ file }) => file !== "test/architecture.test.ts")
    .flatMap(({ file, text }) => (machine.exec(text) ?? []).slice(0, 1).map((match) => `${file}: ${match}`));
  assert.deepEqual(wrong, []);
});

test("decisions have a number of their own, a status, a context, a decision and consequences", () => {
  const files = readdirSync(path.join(root, "docs/adr")).sort();
  const numbers = files.map((file) => file.slice(0, 4));
  assert.deepEqual(numbers, [...new Set(numbers)]);
  const wrong: string[] = [];
  for (const file of files) {
    const text = read(`docs/adr/${file}`);
    if (!text.startsWith(`# ${Number(file.slice(0, 4))}. `)) wrong.push(`${file}: its title begins with its number`);
    for (const part of ["Status", "Context", "Decision", "Consequences"]) {
      if (!new RegExp(`^(?:#+ *|\\*\\*)?${part}\\b`, "m").test(text)) wrong.push(`${file}: ${part}`);
    }
  }
  assert.deepEqual(wrong, []);
});

test("what is not there is listed for every room", () => {
  const headings = read("docs/COVERAGE.md")
    .split("\n")
    .filter((line) => line.startsWith("## "))
    .join("\n");
  const silent = rooms
    .map((room) => path.basename(room))
    .filter((room) => !["base", "api", "host"].includes(room) && !new RegExp(`\\b${room}\\b`).test(headings));
  assert.deepEqual(silent, []);
});

test("each number of the specification names the test or benchmark that holds it", () => {
  const rows = read("SPECIFICATION.md")
    .split("\n")
    .filter((line) => line.startsWith("|") && !/^\|(?: *-+ *\|)+$/.test(line) && !line.startsWith("| what |"));
  assert.ok(rows.length > 10);
  for (const row of rows) {
    const names = [
      ...row
        .split("|")
        .at(-2)!
        .matchAll(/`([^`]+\.ts)`/g),
    ].map((match) => match[1]!);
    assert.ok(names.length > 0, `nothing holds: ${row}`);
    for (const name of names) {
      assert.match(name, /\.test\.ts$|^bench\/|\.suite\.ts$/, row);
      assert.ok(existsSync(path.join(root, name)), `${name} is absent: ${row}`);
    }
  }
});

test("the documents name files that exist", () => {
  const missing: string[] = [];
  for (const document of ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"]) {
    const text = read(document);
    const linked = [...text.matchAll(/\]\((?!https?:|#)([^)#]+)\)/g)].map((match) => match[1]!);
    const quoted = [...text.matchAll(/`([\w@.-]+(?:\/[\w@.-]+)*(?:\/|\.(?:ts|tsx|json|md|yaml)))`/g)]
      .map((match) => match[1]!)
      .filter((name) => name.includes("/"));
    const candidates = (name: string) => [name, `src/${name}`];
    for (const name of [...linked, ...quoted]) {
      if (!candidates(name).some((file) => existsSync(path.join(root, file)))) missing.push(`${document}: ${name}`);
    }
  }
  assert.deepEqual(missing, []);
});

test("the map of ARCHITECTURE.md has every room on its floor", () => {
  const text = read("ARCHITECTURE.md");
  layers.floors.forEach((names, floor) => {
    for (const name of names.filter((room) => rooms.includes(`src/${room}`)))
      assert.match(text, new RegExp(`^ {4}${floor} .*\\b${name}/`, "m"), `${name} on floor ${floor}`);
  });
});
