import { encodeName } from "../../base/index.ts";
import { errno, checked, errnoName, libc } from "../ffi/index.ts";

/** File types for `makeNode`, from stat(2). */
export const S_IFIFO = 0o010000;
export const S_IFCHR = 0o020000;
export const S_IFBLK = 0o060000;

/** mknod(2): a device or FIFO. `mode` is type plus permission; the process's umask is taken off by the kernel. */
export function makeNode(
  path: string,
  mode: number,
  device: { major: number; minor: number } = { major: 0, minor: 0 },
): void {
  const native = libc("int mknod(const char *path, unsigned int mode, unsigned long device)");
  checked(native(cString(path), mode, deviceNumber(device.major, device.minor)), `make node ${path}`);
}

/** The C library's makedev(3) for 64-bit Linux. */
function deviceNumber(major: number, minor: number): bigint {
  const [high, low] = [BigInt(major), BigInt(minor)];
  return ((high & 0xfffff000n) << 32n) | ((high & 0xfffn) << 8n) | ((low & 0xffffff00n) << 12n) | (low & 0xffn);
}

/** Sets an extended attribute of the file itself, never of what a symbolic link points at. */
export function setAttribute(path: string, name: string, value: Uint8Array): void {
  const native = libc("int lsetxattr(const char *path, const char *name, const void *value, size_t size, int flags)");
  checked(native(cString(path), name, Buffer.from(value), value.byteLength, 0), `set attribute ${name} of ${path}`);
}

const MAX_ATTRIBUTE_BYTES = 65_536;

/** Undefined when the file has no such attribute. */
export function getAttribute(path: string, name: string): Buffer | undefined {
  const native = libc("long lgetxattr(const char *path, const char *name, _Out_ void *value, size_t size)");
  const buffer = Buffer.alloc(256);
  let size = native(cString(path), name, buffer, buffer.byteLength);
  if (size >= 0) return buffer.subarray(0, size);
  if (errnoName(errno()) !== "ERANGE") return undefined;
  const large = Buffer.alloc(MAX_ATTRIBUTE_BYTES);
  size = native(cString(path), name, large, large.byteLength);
  return size >= 0 ? large.subarray(0, size) : undefined;
}

/** Names of the file's own extended attributes. */
export function listAttributes(path: string): string[] {
  const native = libc("long llistxattr(const char *path, _Out_ void *list, size_t size)");
  const buffer = Buffer.alloc(4096);
  let size = native(cString(path), buffer, buffer.byteLength);
  let from = buffer;
  if (size < 0 && errnoName(errno()) === "ERANGE") {
    from = Buffer.alloc(MAX_ATTRIBUTE_BYTES);
    size = native(cString(path), from, from.byteLength);
  }
  if (size <= 0) return [];
  return from.toString("utf8", 0, size - 1).split("\0");
}

/** A path for C: koffi ends a string with a zero, bytes need one of ours. */
function cString(path: string): string | Buffer {
  const name = encodeName(path);
  return typeof name === "string" ? name : Buffer.concat([name, Buffer.alloc(1)]);
}
