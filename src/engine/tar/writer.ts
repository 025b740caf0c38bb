import { nameBytes } from "../../base/index.ts";
import { BLOCK, type TarEntry, type TarType } from "./types.ts";

const FLAGS: Record<TarType, string> = {
  file: "0",
  hardlink: "1",
  symlink: "2",
  character: "3",
  block: "4",
  directory: "5",
  fifo: "6",
};
const MAX_OCTAL_11 = 0o77777777777;
const MAX_OCTAL_7 = 0o7777777;

/**
 * The header blocks of one entry: ustar, with a PAX header before it for what ustar can't say. The same entry always gives the same bytes,
 * since a layer's identity is the digest of its tar. Times are whole seconds.
 */
export function tarHeader(entry: TarEntry): Buffer {
  const records: [string, Buffer][] = [];
  const need = (key: string, value: string | number) => records.push([key, nameBytes(String(value))]);
  if (nameBytes(entry.name).byteLength > 100) need("path", entry.name);
  if (nameBytes(entry.linkName).byteLength > 100) need("linkpath", entry.linkName);
  if (entry.sizeBytes > MAX_OCTAL_11) need("size", entry.sizeBytes);
  if (entry.uid > MAX_OCTAL_7) need("uid", entry.uid);
  if (entry.gid > MAX_OCTAL_7) need("gid", entry.gid);
  const mtime = Math.floor(entry.mtime);
  if (mtime < 0 || mtime > MAX_OCTAL_11) need("mtime", mtime);
  for (const name of Object.keys(entry.attributes).sort())
    records.push([`SCHILY.xattr.${name}`, entry.attributes[name]!]);
  const main = ustar({ ...entry, mtime: Math.max(0, mtime) }, FLAGS[entry.type]);
  if (records.length === 0) return main;
  const body = paxBody(records);
  const pax = ustar(
    {
      ...entry,
      name: "PaxHeaders.0/entry",
      linkName: "",
      mode: 0o644,
      uid: 0,
      gid: 0,
      mtime: 0,
      sizeBytes: body.byteLength,
    },
    "x",
  );
  return Buffer.concat([pax, body, tarPadding(body.byteLength), main]);
}

/** Fills the content up to a whole block. */
export function tarPadding(sizeBytes: number): Buffer {
  return Buffer.alloc((BLOCK - (sizeBytes % BLOCK)) % BLOCK);
}

/** The two empty blocks at the end. */
export function tarEnd(): Buffer {
  return Buffer.alloc(2 * BLOCK);
}

/** An entry for content of our own making: a file `name` with root as owner. */
export function plainFile(name: string, sizeBytes: number, mtime = 0): TarEntry {
  return {
    name,
    type: "file",
    mode: 0o644,
    uid: 0,
    gid: 0,
    sizeBytes,
    mtime,
    linkName: "",
    major: 0,
    minor: 0,
    attributes: {},
  };
}

function ustar(entry: TarEntry, flag: string): Buffer {
  const block = Buffer.alloc(BLOCK);
  const octal = (value: number, at: number, length: number) =>
    block.write(
      value
        .toString(8)
        .padStart(length - 1, "0")
        .slice(-(length - 1)),
      at,
      length - 1,
      "latin1",
    );
  nameBytes(entry.name).copy(block, 0, 0, 100);
  octal(entry.mode, 100, 8);
  octal(Math.min(entry.uid, MAX_OCTAL_7), 108, 8);
  octal(Math.min(entry.gid, MAX_OCTAL_7), 116, 8);
  octal(Math.min(entry.sizeBytes, MAX_OCTAL_11), 124, 12);
  octal(Math.min(entry.mtime, MAX_OCTAL_11), 136, 12);
  block.write("        ", 148, 8, "latin1");
  block.write(flag, 156, 1, "latin1");
  nameBytes(entry.linkName).copy(block, 157, 0, 100);
  block.write("ustar\x0000", 257, 8, "latin1");
  octal(entry.major, 329, 8);
  octal(entry.minor, 337, 8);
  let sum = 0;
  for (const byte of block) sum += byte;
  block.write(sum.toString(8).padStart(6, "0") + "\0 ", 148, 8, "latin1");
  return block;
}

function paxBody(records: [string, Buffer][]): Buffer {
  return Buffer.concat(
    records.map(([key, value]) => {
      const rest = Buffer.byteLength(key) + value.byteLength + 3;
      let length = rest + String(rest).length;
      if (String(length).length + rest > length) length = rest + String(length).length;
      return Buffer.concat([Buffer.from(`${length} ${key}=`), value, Buffer.from("\n")]);
    }),
  );
}
