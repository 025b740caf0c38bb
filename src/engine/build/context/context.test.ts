import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { Readable } from "node:stream";
import { afterEach, beforeEach, test } from "node:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import tar from "tar-stream";
import { messageOf, MiB } from "../../../base/index.ts";
import { KnownFiles } from "./known.ts";
import { globRegex, ignoreMatcher, readIgnoreFile } from "./patterns.ts";
import { parseChmod, select } from "./select.ts";
import { digestFile, listTree, resolveInRoot } from "./tree.ts";
import { unpack } from "./unpack.ts";

let root: string;
beforeEach(() => (root = fs.mkdtempSync(path.join(os.tmpdir(), "berth-context-"))));
afterEach(() => fs.rmSync(root, { recursive: true, force: true }));

async function archive(
  entries: (Partial<tar.Header> & { name: string; content?: Buffer | string })[],
): Promise<Buffer> {
  const pack = tar.pack();
  for (const { content, ...header } of entries)
    pack.entry({ mtime: new Date(1e12), mode: 0o644, ...header } as tar.Header, content ?? "");
  pack.finalize();
  return Buffer.concat(await Readable.from(pack).toArray());
}

/** The same bytes in chunks of one size. */
function* chunks(bytes: Buffer, size: number): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

const directory = (name: string) => {
  const made = path.join(root, name);
  fs.mkdirSync(made);
  return made;
};

test("an archive unpacks the same whatever its chunks and compression", async () => {
  const long = `${"d".repeat(90)}/${"e".repeat(120)}/naïve`;
  const bytes = await archive([
    { name: "a", content: "A".repeat(1000) },
    { name: long, content: "L" },
    { name: "l", type: "symlink", linkname: "a" },
    { name: "h", type: "link", linkname: "a" },
    { name: "e/", type: "directory", mode: 0o700 },
  ]);
  const forms: [string, Iterable<Buffer>][] = [
    ["whole", [bytes]],
    ["bytewise", chunks(bytes, 7)],
    ["gzip", chunks(gzipSync(bytes), 100)],
    ["zstd", [zstdCompressSync(bytes)]],
  ];
  for (const [name, form] of forms) {
    const tree = await unpack(Readable.from(form) as AsyncIterable<Uint8Array>, directory(name));
    assert.equal(fs.readFileSync(path.join(tree.root, long), "utf8"), "L", name);
    assert.equal(fs.readlinkSync(path.join(tree.root, "l")), "a");
    assert.equal(fs.statSync(path.join(tree.root, "h")).ino, fs.statSync(path.join(tree.root, "a")).ino);
    assert.equal(fs.statSync(path.join(tree.root, "e")).mode & 0o777, 0o700);
    assert.equal(fs.statSync(path.join(tree.root, "a")).mtimeMs, 1e12);
    assert.equal(tree.digests.get("a"), tree.digests.get("h"));
  }
});

test("names that aren't UTF-8 and holes are kept, in every form of GNU tar", async () => {
  const source = directory("source");
  const odd = Buffer.from(`${source}/caf\xe9`, "latin1");
  fs.mkdirSync(odd);
  fs.writeFileSync(Buffer.concat([odd, Buffer.from("/x\xff", "latin1")]), "odd");
  fs.symlinkSync(Buffer.from("caf\xe9", "latin1"), path.join(source, "link"));
  const fd = fs.openSync(path.join(source, "sparse"), "w");
  fs.writeSync(fd, "end", 8 * MiB);
  fs.ftruncateSync(fd, 9 * MiB);
  fs.closeSync(fd);
  for (const format of [
    "gnu",
    "posix --sparse-version=0.0",
    "posix --sparse-version=0.1",
    "posix --sparse-version=1.0",
  ]) {
    const flags = ["--sparse", ...`--format=${format}`.split(" "), "-C", source, "-cf", "-", "."];
    const tree = await unpack(
      Readable.from([execFileSync("tar", flags)]) as AsyncIterable<Uint8Array>,
      directory(format),
    );
    assert.deepEqual(
      listTree(tree, "").map(({ name }) => name),
      ["caf\udce9", "link", "sparse"],
      format,
    );
    const [odd] = select(tree, ["link/x*"], { where: "" });
    assert.equal(odd!.source, "caf\udce9/x\udcff");
    assert.equal(await digestFile(tree, odd!.source), createHash("sha256").update("odd").digest("hex"));
    const sparse = fs.statSync(path.join(tree.root, "sparse"));
    assert.equal(sparse.size, 9 * MiB, format);
    assert.ok(sparse.blocks * 512 < MiB, format);
    const content = fs.readFileSync(path.join(tree.root, "sparse"));
    assert.equal(content.toString("latin1", 8 * MiB, 8 * MiB + 4), "end\0");
    assert.equal(await digestFile(tree, "sparse"), createHash("sha256").update(content).digest("hex"));
  }
});

test("truncated and damaged archives are refused", async () => {
  const bytes = await archive([{ name: "a", content: "A".repeat(1000) }]);
  const attempt = async (data: Buffer) => {
    try {
      await unpack(Readable.from([data]) as AsyncIterable<Uint8Array>, fs.mkdtempSync(path.join(root, "x")));
    } catch (error) {
      return messageOf(error);
    }
    return "accepted";
  };
  assert.match(await attempt(bytes.subarray(0, 900)), /truncated/);
  assert.match(await attempt(gzipSync(bytes).subarray(0, 60)), /gzip archive is damaged/);
  const broken = Buffer.from(bytes);
  broken[10]! ^= 1;
  assert.match(await attempt(broken), /not a tar archive/);
});

test("a large file that comes again is linked, a changed one is written in full", async () => {
  const known = new KnownFiles(path.join(root, "known"));
  const content = Buffer.alloc(3 * MiB, 7);
  const load = async (name: string, data: Buffer) => {
    const bytes = await archive([{ name: "big", content: data }]);
    return await unpack(Readable.from(chunks(bytes, 100_000)) as AsyncIterable<Uint8Array>, directory(name), { known });
  };
  const first = await load("first", content);
  fs.linkSync(path.join(first.root, "big"), path.join(root, "layer"));
  known.remember(first);
  const inode = fs.statSync(path.join(root, "layer")).ino;
  const mine = process.getuid?.() === 0;
  const again = await load("again", content);
  assert.equal(
    fs.statSync(path.join(again.root, "big")).ino === inode,
    mine,
    "only files of root are taken for a context's",
  );
  assert.deepEqual(again.digests, first.digests);
  const changed = Buffer.from(content);
  changed[2 * MiB + 5] = 8;
  const other = await load("changed", changed);
  assert.notEqual(fs.statSync(path.join(other.root, "big")).ino, inode);
  assert.ok(fs.readFileSync(path.join(other.root, "big")).equals(changed));
  assert.notEqual(other.digests.get("big"), first.digests.get("big"));
  for (const name of ["first", "again", "changed", "layer"]) fs.rmSync(path.join(root, name), { recursive: true });
  known.sweep();
  assert.deepEqual(fs.readdirSync(path.join(root, "known")), [], "what no layer holds is not kept");
});

test("patterns of .dockerignore", () => {
  const table: [string, string, boolean][] = [
    ["*.md", "a.md", true],
    ["*.md", "sub/a.md", false],
    ["**/*.md", "sub/a.md", true],
    ["**/*.md", "a.md", true],
    ["/foo", "foo/bar", true],
    ["foo/", "foo", true],
    ["./foo/../bar", "bar", true],
    ["f?o", "fxo", true],
    ["f[a-c]o", "fbo", true],
    ["a**b", "axx/yb", true],
    ["\\*", "*", true],
    ["foo", "foobar", false],
  ];
  for (const [pattern, name, ignored] of table)
    assert.equal(ignoreMatcher([pattern])(name, false), ignored, `${pattern} ${name}`);
  const exceptions = ignoreMatcher(readIgnoreFile("# c\n*\n!src/keep\n!*.txt\n"));
  assert.deepEqual(
    [
      exceptions("src", true),
      exceptions("src/keep", false),
      exceptions("src/other", false),
      exceptions("a.txt", false),
      exceptions("lib", true),
    ],
    [false, false, true, false, false],
  );
  assert.throws(() => ignoreMatcher(["!"]), /illegal exclusion/);
  assert.equal(globRegex("a.b").test("axb"), false);
});

test("paths are resolved as in a chroot", () => {
  fs.mkdirSync(path.join(root, "usr/lib"), { recursive: true });
  fs.symlinkSync("usr/lib", path.join(root, "lib"));
  fs.symlinkSync("/../../lib/x", path.join(root, "up"));
  fs.symlinkSync("loop", path.join(root, "loop"));
  assert.equal(resolveInRoot(root, "/lib/a"), "usr/lib/a");
  assert.equal(resolveInRoot(root, "../../etc"), "etc");
  assert.equal(resolveInRoot(root, "up"), "usr/lib/x");
  assert.equal(resolveInRoot(root, "up", false), "up");
  assert.throws(() => resolveInRoot(root, "loop"), /too many levels/);
});

test("--chmod, octal and symbolic", () => {
  assert.equal(parseChmod("0755")(0o644, false), 0o755);
  assert.equal(parseChmod("u+x,go-r")(0o644, false), 0o700);
  assert.equal(parseChmod("a=rX")(0o600, true), 0o555);
  assert.equal(parseChmod("a=rX")(0o600, false), 0o444);
  assert.equal(parseChmod("+s")(0o755, false), 0o6755);
  assert.throws(() => parseChmod("rwx"), /invalid chmod parameter/);
});
