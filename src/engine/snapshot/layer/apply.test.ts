import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { plainFile, TarParser, type TarEntry } from "../../tar/index.ts";
import { DEFAULT_APPLY_LIMITS, LayerApplier } from "./apply.ts";
import { resolveDirectory, segmentsOf } from "./resolve.ts";
import { tarOf } from "./walk.ts";

let folder: string;
let root: string;
let outside: string;

beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "berth-apply-"));
  root = path.join(folder, "root");
  outside = path.join(folder, "outside");
  fs.mkdirSync(root);
  fs.mkdirSync(outside);
});
afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

const uid = process.getuid!();
const gid = process.getgid!();
/** Owned by whoever runs the test, so that no root is needed. */
const mine = (entry: TarEntry): TarEntry => ({ ...entry, uid, gid });
const file = (name: string, content: string): [TarEntry, string] => [mine(plainFile(name, content.length)), content];
const directory = (name: string): [TarEntry, string] => [
  mine({ ...plainFile(name, 0), type: "directory", mode: 0o755 }),
  "",
];
const symlink = (name: string, linkName: string): [TarEntry, string] => [
  mine({ ...plainFile(name, 0), type: "symlink", linkName }),
  "",
];
const hardlink = (name: string, linkName: string): [TarEntry, string] => [
  mine({ ...plainFile(name, 0), type: "hardlink", linkName }),
  "",
];

function apply(entries: [TarEntry, string][], lower: string[] = [], limits = DEFAULT_APPLY_LIMITS): void {
  const applier = new LayerApplier(root, lower, limits);
  try {
    for (const [entry, content] of entries) {
      applier.entry(entry);
      if (content) applier.data(Buffer.from(content));
      applier.entryEnd();
    }
    applier.finish();
  } finally {
    applier.abort();
  }
}

const read = (name: string) => fs.readFileSync(path.join(root, name), "utf8");

test("names that aren't UTF-8 come out of a layer, and go into one, byte for byte", () => {
  const odd = "caf\udce9";
  apply([
    directory(odd),
    file(`${odd}/a\udcff`, "A"),
    symlink("l", odd),
    file("l/b\udcfe", "B"),
    hardlink("h", `${odd}/a\udcff`),
  ]);
  apply([file("l/b\udcfe", "B2"), file(`${odd}/a\udcff`, "A2")]);
  const bytes = (name: string) => Buffer.from(path.join(root, name), "latin1");
  assert.equal(fs.readFileSync(bytes("caf\xe9/b\xfe"), "utf8"), "B2");
  assert.equal(fs.readFileSync(bytes("caf\xe9/a\xff"), "utf8"), "A2");
  assert.equal(fs.readlinkSync(path.join(root, "l"), "latin1"), "caf\xe9");
  const names: string[] = [];
  const parser = new TarParser({
    entry: ({ name, linkName }) => names.push(`${name} ${linkName}`),
    data: () => {},
    entryEnd: () => {},
  });
  for (const chunk of tarOf(root)) parser.write(chunk);
  assert.deepEqual(names.sort(), [`${odd}/ `, `${odd}/a\udcff `, `${odd}/b\udcfe `, "h ", `l ${odd}`].sort());
});

test("holes of a sparse file stay holes, also at its end", () => {
  const applier = new LayerApplier(root, []);
  applier.entry(mine({ ...plainFile("sparse", 64 << 20), storedBytes: 4 }));
  applier.hole(32 << 20);
  applier.data(Buffer.from("data"));
  applier.hole((32 << 20) - 4);
  applier.entryEnd();
  applier.finish();
  const facts = fs.statSync(path.join(root, "sparse"));
  assert.equal(facts.size, 64 << 20);
  assert.ok(facts.blocks * 512 < 1 << 20, "most of it takes no space");
  assert.equal(fs.readFileSync(path.join(root, "sparse")).toString("latin1", 32 << 20, (32 << 20) + 4), "data");
});

test("files, directories and links arrive as they are", () => {
  apply([directory("d/"), file("d/a", "one"), hardlink("d/b", "d/a"), symlink("c", "d/a")]);
  assert.equal(read("d/b"), "one");
  assert.equal(fs.statSync(path.join(root, "d/a")).nlink, 2);
  assert.equal(fs.readlinkSync(path.join(root, "c")), "d/a");
});

test("later entries replace earlier ones of any kind", () => {
  apply([
    file("a", "1"),
    file("a", "2"),
    directory("x"),
    file("x/y", "3"),
    symlink("x", "/nowhere"),
    directory("z"),
    file("z/f", "4"),
    directory("z"),
  ]);
  assert.equal(read("a"), "2");
  assert.equal(fs.readlinkSync(path.join(root, "x")), "/nowhere");
  assert.equal(read("z/f"), "4");
});

test("paths that lead out of the root are refused", () => {
  for (const name of ["../x", "a/../../x", "/../x"]) assert.throws(() => apply([file(name, "evil")]), /leads out/);
  assert.throws(() => apply([file("a\0b", "evil")]), /zero byte/);
  assert.deepEqual(fs.readdirSync(folder).sort(), ["outside", "root"]);
});

test("symbolic links are followed inside the root only", () => {
  apply([symlink("abs", outside), file("abs/pwned", "x")]);
  apply([symlink("up", "../../../../outside"), file("up/pwned", "x")]);
  assert.deepEqual(fs.readdirSync(outside), []);
  assert.equal(read(`${outside}/pwned`.slice(1)), "x");
  assert.equal(read("outside/pwned"), "x");
});

test("a file is never written through a symbolic link at its own name", () => {
  const target = path.join(outside, "target");
  fs.writeFileSync(target, "safe");
  apply([symlink("a", target), file("a", "evil")]);
  assert.equal(fs.readFileSync(target, "utf8"), "safe");
  assert.equal(read("a"), "evil");
});

test("hard links reach only what is in the image", () => {
  const secret = path.join(outside, "secret");
  fs.writeFileSync(secret, "s");
  assert.throws(() => apply([hardlink("a", "../outside/secret")]), /leads out/);
  assert.throws(() => apply([hardlink("a", secret)]), /no file of the image/);
  assert.throws(() => apply([symlink("dir", outside), hardlink("a", "dir/secret")]), /no file of the image/);
});

test("whiteouts with tricky names are refused or harmless", () => {
  assert.throws(() => apply([file("d/.wh.", "")]), /broken whiteout/);
  assert.throws(() => apply([file("d/.wh...", "")]), /broken whiteout/);
  apply([file(".wh..wh.plnk", "")]);
  assert.ok(!fs.existsSync(path.join(root, ".wh..wh.plnk")));
});

test("links in a circle end", () => {
  assert.throws(() => apply([symlink("a", "b"), symlink("b", "a"), file("a/x", "1")]), /too many symbolic links/);
});

test("a parent that only a lower layer has keeps its mode, and links of lower layers are followed", () => {
  const lower = path.join(folder, "lower");
  fs.mkdirSync(path.join(lower, "usr/lib"), { recursive: true });
  fs.chmodSync(path.join(lower, "usr/lib"), 0o711);
  fs.symlinkSync("usr/lib", path.join(lower, "lib"));
  fs.writeFileSync(path.join(lower, "usr/lib/old"), "old");
  apply([file("lib/new", "n"), hardlink("again", "lib/old")], [lower]);
  assert.equal(read("usr/lib/new"), "n");
  assert.equal(fs.statSync(path.join(root, "usr/lib")).mode & 0o777, 0o711);
  assert.equal(read("again"), "old");
  assert.equal(fs.readFileSync(path.join(lower, "usr/lib/old"), "utf8"), "old");
});

test("bombs are stopped by size and by number", () => {
  assert.throws(
    () => apply([file("a", "x".repeat(100))], [], { ...DEFAULT_APPLY_LIMITS, maxBytes: 50 }),
    /unpacks to more/,
  );
  assert.throws(
    () => apply([file("a", ""), file("b", "")], [], { ...DEFAULT_APPLY_LIMITS, maxEntries: 1 }),
    /more than 1 entries/,
  );
});

test("attributes of overlayfs never come from an archive", () => {
  const entry = mine({
    ...plainFile("d", 0),
    type: "directory",
    mode: 0o755,
    attributes: { "trusted.overlay.redirect": Buffer.from("/etc") },
  });
  apply([[entry, ""]]);
  assert.ok(fs.statSync(path.join(root, "d")).isDirectory());
});

test("segments and directories are resolved as a chroot would", () => {
  assert.deepEqual(segmentsOf("./a//b/../c/"), ["a", "c"]);
  fs.mkdirSync(path.join(root, "real/sub"), { recursive: true });
  fs.symlinkSync("/real", path.join(root, "alias"));
  fs.symlinkSync("../../../real/sub", path.join(root, "real/loop"));
  const missing = () => assert.fail("nothing is missing");
  assert.equal(resolveDirectory([root], ["alias", "sub"], missing), "/real/sub");
  assert.equal(resolveDirectory([root], ["alias", "loop"], missing), "/real/sub");
});
