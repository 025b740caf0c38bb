/**
 * Writes the little DER that certificates need (X.690). @peculiar/x509 does more, and takes longer to load than berth may take to start.
 */
export type Der = Buffer;

function tlv(tag: number, content: Uint8Array): Der {
  const { length } = content;
  const header = length < 0x80 ? [tag, length] : [tag, ...longLength(length)];
  return Buffer.concat([Buffer.from(header), content]);
}

function longLength(length: number): number[] {
  const bytes: number[] = [];
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256);
  return [0x80 | bytes.length, ...bytes];
}

export const sequence = (...items: readonly Der[]): Der => tlv(0x30, Buffer.concat(items));
export const set = (...items: readonly Der[]): Der => tlv(0x31, Buffer.concat(items));
export const octetString = (content: Uint8Array): Der => tlv(0x04, content);
export const utf8 = (text: string): Der => tlv(0x0c, Buffer.from(text));
export const boolean = (value: boolean): Der => tlv(0x01, Buffer.from([value ? 0xff : 0]));
/** `unused` trailing bits of the last byte don't count. */
export const bitString = (content: Uint8Array, unused = 0): Der =>
  tlv(0x03, Buffer.concat([Buffer.from([unused]), content]));
/** `[number] EXPLICIT`. */
export const explicit = (number: number, content: Der): Der => tlv(0xa0 | number, content);
/** `[number] IMPLICIT` of something primitive. */
export const implicit = (number: number, content: Uint8Array): Der => tlv(0x80 | number, content);

/** A positive integer, big-endian. */
export function integer(bytes: Uint8Array): Der {
  const trimmed = bytes.subarray(
    Math.max(
      0,
      bytes.findIndex((byte) => byte !== 0),
    ),
  );
  return tlv(0x02, (trimmed[0] ?? 0) & 0x80 ? Buffer.concat([Buffer.from([0]), trimmed]) : trimmed);
}

export function oid(dotted: string): Der {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number);
  const bytes = [first * 40 + second];
  for (const part of rest) {
    const groups = [part & 0x7f];
    for (let left = Math.floor(part / 128); left > 0; left = Math.floor(left / 128))
      groups.unshift((left & 0x7f) | 0x80);
    bytes.push(...groups);
  }
  return tlv(0x06, Buffer.from(bytes));
}

/** UTCTime until 2049, GeneralizedTime after (RFC 5280, 4.1.2.5). */
export function time(ms: number): Der {
  const text = new Date(ms).toISOString().replace(/[-:T]/g, "").slice(0, 14);
  return text < "2050" ? tlv(0x17, Buffer.from(`${text.slice(2)}Z`)) : tlv(0x18, Buffer.from(`${text}Z`));
}
