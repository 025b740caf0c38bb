/** Holds the floors of scripts/layers.json: who may import whom, through which door, and who may touch the platform. */
import assert from "node:assert/strict";
import { globSync, readFileSync, existsSync, readdirSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";

const root = path.resolve(import.meta.dirname, "..");
const layers = JSON.parse(readFileSync(path.join(root, "scripts/layers.json"), "utf8")) as {
  floors: string[][];
  sameFloor: [string, string][];
  never: [string, string][];
};
const floorOf = new Map(layers.floors.flatMap((rooms, floor) => rooms.map((room) => [room, floor] as const)));
const rooms = readdirSync(path.join(root, "src"), { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map((entry) => entry.name);

const sources = globSync("src/**/*.ts", { cwd: root }).map((file) => {
  const text = readFileSync(path.join(root, file), "utf8");
  const imports = [...text.matchAll(/(?:from|import)\s*\(?\s*["']([^"']+)["']/g)].map((match) => match[1]!);
  return {
    file,
    room: file.split(path.sep)[1]!,
    text,
    imports,
    isTest: /\.(test|suite)\.ts$|\/(testing|testdata)\//.test(file),
  };
});

test("every room stands on a floor, with a door and a README", () => {
  for (const room of rooms) {
    assert.ok(floorOf.has(room), `src/${room} is on no floor of scripts/layers.json`);
    assert.ok(existsSync(path.join(root, "src", room, "README.md")), `src/${room} has no README.md`);
  }
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
    const code = text.replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, "");
    for (const [match] of code.matchAll(
      /\bDate\.now\(|\bMath\.random\(|(?<![.\w])(?:setTimeout|setInterval)\(|\bperformance\.now\(/g,
    )) {
      wrong.push(`${file}: ${match}`);
    }
  }
  assert.deepEqual(wrong, []);
});
