import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { plainFile, TarParser, tarEnd, tarHeader, tarPadding, type TarEntry } from "./index.ts";
import { checkSegments, parseMapRecord } from "./sparse.ts";

interface Read {
  readonly entry: TarEntry;
  readonly content: string;
}

function parse(archive: Buffer, chunkBytes = 700): Read[] {
  const found: { entry: TarEntry; chunks: Buffer[] }[] = [];
  const parser = new TarParser({
    entry: (entry) => void found.push({ entry, chunks: [] }),
    data: (chunk) => void found.at(-1)!.chunks.push(chunk),
    entryEnd: () => {},
  });
  for (let at = 0; at < archive.byteLength; at += chunkBytes) parser.write(archive.subarray(at, at + chunkBytes));
  parser.end();
  return found.map(({ entry, chunks }) => ({ entry, content: Buffer.concat(chunks).toString() }));
}

function archiveOf(...files: [TarEntry, string][]): Buffer {
  const parts = files.map(([entry, content]) =>
    Buffer.concat([tarHeader(entry), Buffer.from(content), tarPadding(Buffer.byteLength(content))]),
  );
  return Buffer.concat([...parts, tarEnd()]);
}

test("what is written is read again, in chunks of any size", () => {
  const long = `${"d/".repeat(90)}name-that-does-not-fit`;
  const archive = archiveOf(
    [
      { ...plainFile(long, 3, 1_700_000_000), uid: 3_000_000, attributes: { "user.a": Buffer.from([0, 255, 10]) } },
      "abc",
    ],
    [{ ...plainFile("link", 0), type: "symlink", linkName: long }, ""],
    [{ ...plainFile("dev", 0), type: "character", major: 10, minor: 200 }, ""],
  );
  for (const size of [1, 511, 512, 513, 100_000]) {
    const [file, link, device] = parse(archive, size);
    assert.equal(file!.entry.name, long);
    assert.equal(file!.content, "abc");
    assert.equal(file!.entry.uid, 3_000_000);
    assert.equal(file!.entry.mtime, 1_700_000_000);
    assert.deepEqual(file!.entry.attributes["user.a"], Buffer.from([0, 255, 10]));
    assert.equal(link!.entry.linkName, long);
    assert.deepEqual([device!.entry.major, device!.entry.minor], [10, 200]);
  }
});

test("GNU tar reads what is written", () => {
  const name = `${"ä".repeat(110)}/file`;
  const options = { input: archiveOf([plainFile(name, 2), "hi"]), env: { LC_ALL: "C.UTF-8" } };
  assert.equal(execFileSync("tar", ["--quoting-style=literal", "-tf", "-"], options).toString(), `${name}\n`);
});

test("GNU's long names and base-256 numbers are read", () => {
  const name = "x".repeat(150);
  const longName = tarHeader({ ...plainFile("././@LongLink", name.length + 1), type: "file" });
  longName[156] = "L".charCodeAt(0);
  fixChecksum(longName);
  const header = tarHeader(plainFile("short", 1));
  header.fill(0, 108, 116);
  header[108] = 0x80;
  header.writeUInt32BE(5_000_000, 112);
  fixChecksum(header);
  const archive = Buffer.concat([
    longName,
    Buffer.from(`${name}\0`.padEnd(512, "\0")),
    header,
    Buffer.from("y".padEnd(512, "\0")),
    tarEnd(),
  ]);
  const [file] = parse(archive);
  assert.equal(file!.entry.name, name);
  assert.equal(file!.entry.uid, 5_000_000);
});

test("truncated, damaged and foreign input is refused", () => {
  const archive = archiveOf([plainFile("a", 600), "b".repeat(600)]);
  assert.throws(() => parse(archive.subarray(0, 700)), /truncated/);
  assert.throws(() => parse(Buffer.alloc(0)), /not a tar archive/);
  assert.throws(() => parse(Buffer.alloc(1024, "x")), /not a tar archive/);
  const damaged = Buffer.from(archive);
  damaged[0]! ^= 1;
  assert.throws(() => parse(damaged), /checksum/);
});

test("no input makes the parser fail in any but its own way", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2048 }), fc.nat(600), (noise, at) => {
      const archive = Buffer.concat([archiveOf([plainFile("a", 3), "abc"]).subarray(0, at), Buffer.from(noise)]);
      try {
        parse(archive);
      } catch (error) {
        assert.equal((error as { code?: string }).code, "invalidArgument");
      }
    }),
    { numRuns: 300 },
  );
});

function fixChecksum(block: Buffer): void {
  block.fill(" ", 148, 156);
  let sum = 0;
  for (const byte of block) sum += byte;
  block.write(sum.toString(8).padStart(6, "0") + "\0 ", 148, "latin1");
}

test("sparse files of all four forms come out with their holes, in chunks of any size", () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "berth-sparse-"));
  try {
    const file = path.join(folder, "file");
    const expected = Buffer.alloc(1 << 20);
    const fd = fs.openSync(file, "w");
    // More pieces than fit the first header; one at the start, none at the end.
    for (let piece = 0; piece < 40; piece++) {
      expected.write(`piece ${piece}`, piece * 16_384);
      fs.writeSync(fd, expected, piece * 16_384, 4096, piece * 16_384);
    }
    fs.ftruncateSync(fd, expected.byteLength);
    fs.closeSync(fd);
    for (const form of ["gnu", "0.0", "0.1", "1.0"]) {
      const flags = form === "gnu" ? ["--format=gnu"] : ["--format=posix", `--sparse-version=${form}`];
      const archive = execFileSync("tar", ["-cS", "--hole-detection=raw", ...flags, "-C", folder, "file"], {
        maxBuffer: 4 << 20,
      });
      assert.ok(archive.byteLength < expected.byteLength / 2, `${form} is sparse`);
      for (const chunkBytes of [100, 512, 70_000]) {
        const parts: Buffer[] = [];
        const entries: TarEntry[] = [];
        const parser = new TarParser({
          entry: (entry) => void entries.push(entry),
          data: (chunk) => void parts.push(chunk),
          hole: (bytes) => void parts.push(Buffer.alloc(bytes)),
          entryEnd: () => {},
        });
        for (let at = 0; at < archive.byteLength; at += chunkBytes) parser.write(archive.subarray(at, at + chunkBytes));
        parser.end();
        assert.deepEqual(
          entries.map(({ name, sizeBytes }) => [name, sizeBytes]),
          [["file", expected.byteLength]],
          form,
        );
        assert.ok(Buffer.concat(parts).equals(expected), `${form} by ${chunkBytes}`);
      }
      assert.throws(() => parse(archive), /sparse files aren't supported here/);
    }
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
});

test("sparse maps that lie are refused: overlaps, pieces outside, other sums", () => {
  const good = [
    { offset: 0, bytes: 10 },
    { offset: 100, bytes: 5 },
  ];
  checkSegments(good, 105, 15);
  assert.throws(() => checkSegments(good, 104, 15), { code: "invalidArgument" });
  assert.throws(() => checkSegments(good, 105, 14), { code: "invalidArgument" });
  assert.throws(() => checkSegments([...good].reverse(), 105, 15), { code: "invalidArgument" });
  for (const text of ["1", "a,b", "-1,2", "1,99999999999999999"])
    assert.throws(() => parseMapRecord(text), { code: "invalidArgument" });
});
