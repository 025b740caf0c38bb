import { internal } from "../../base/index.ts";

/** One entry of an initramfs. */
export interface CpioEntry {
  readonly path: string;
  /** Type and permissions, as in stat: 0o040755, 0o100755, 0o120777, 0o020666. */
  readonly mode: number;
  /** A file's bytes, a link's target. */
  readonly content?: Uint8Array;
  readonly device?: readonly [major: number, minor: number];
}

const HEADER_BYTES = 110;
const ALIGNMENT = 4;

/**
 * The kernel's initramfs format: cpio "newc" (https://docs.kernel.org/driver-api/early-userspace/buffer-format.html). Times are 0 and numbering is by
 * position, so that the same entries give the same bytes.
 */
export function packCpio(entries: readonly CpioEntry[]): Buffer {
  const parts: Buffer[] = [];
  [...entries, { path: "TRAILER!!!", mode: 0 }].forEach((entry, index) => parts.push(...pack(entry, index + 1)));
  return Buffer.concat(parts);
}

function pack({ path, mode, content, device }: CpioEntry, inode: number): Buffer[] {
  if (path.startsWith("/") || path.includes("\0"))
    throw internal(`${JSON.stringify(path)} is no path for an initramfs`);
  const name = Buffer.from(`${path}\0`);
  const body = Buffer.from(content ?? []);
  const links = (mode & 0o170000) === 0o040000 ? 2 : 1;
  const fields = [inode, mode, 0, 0, links, 0, body.length, 0, 0, device?.[0] ?? 0, device?.[1] ?? 0, name.length, 0];
  const header = Buffer.from(
    "070701" + fields.map((field) => field.toString(16).toUpperCase().padStart(8, "0")).join(""),
  );
  return [header, name, padding(HEADER_BYTES + name.length), body, padding(body.length)];
}

function padding(length: number): Buffer {
  return Buffer.alloc((ALIGNMENT - (length % ALIGNMENT)) % ALIGNMENT);
}
