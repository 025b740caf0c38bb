/**
 * Names of files are bytes to Linux, and not all of them are UTF-8. Here a name is a string all the same: bytes that no UTF-8 text has stand in it
 * as lone surrogates (0xNN as U+DCNN), as Python's `surrogateescape` does (PEP 383). So nearly every name is the text it looks like, paths are
 * joined, split and compared as strings, and the way back is exact. Names become bytes only where they leave: system calls and archives.
 */

const REPLACEMENT = "\uFFFD";
const ESCAPE = 0xdc00;

/** The name that these bytes are. */
export function decodeName(bytes: Buffer): string {
  const text = bytes.toString("utf8");
  // A name may have the replacement character itself, which is UTF-8.
  if (!text.includes(REPLACEMENT) || Buffer.from(text).equals(bytes)) return text;
  let name = "";
  for (let at = 0; at < bytes.byteLength;) {
    const length = characterAt(bytes, at);
    name += length > 0 ? bytes.toString("utf8", at, at + length) : String.fromCharCode(ESCAPE + bytes[at]!);
    at += length || 1;
  }
  return name;
}

/** What names the file to the kernel: the string itself when UTF-8 says it exactly, as nearly always, else bytes. */
export function encodeName(name: string): string | Buffer {
  return name.isWellFormed() ? name : nameBytes(name);
}

/** The bytes of a name, without a zero at the end. */
export function nameBytes(name: string): Buffer {
  if (name.isWellFormed()) return Buffer.from(name);
  const parts: Buffer[] = [];
  for (const character of name) {
    const code = character.codePointAt(0)!;
    const isByte = code >= ESCAPE + 0x80 && code <= ESCAPE + 0xff;
    parts.push(isByte ? Buffer.from([code - ESCAPE]) : Buffer.from(character));
  }
  return Buffer.concat(parts);
}

/** How many bytes the well-formed character at `at` has; 0 when there is none. */
function characterAt(bytes: Buffer, at: number): number {
  const first = bytes[at]!;
  const length = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  const character = bytes.subarray(at, at + length);
  const isWhole = character.byteLength === length && Buffer.from(character.toString("utf8")).equals(character);
  return isWhole ? length : 0;
}
