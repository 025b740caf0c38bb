/**
 * Netlink messages and attributes (https://docs.kernel.org/userspace-api/netlink/intro.html): everything in host byte order (all our platforms are
 * little-endian) unless an attribute says network order; everything aligned to 4 bytes.
 */
export const NLM_F_REQUEST = 1;
export const NLM_F_ACK = 4;
export const NLM_F_DUMP = 0x300;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
export const NLM_F_APPEND = 0x800;

export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;
export const HEADER_BYTES = 16;
/** Attribute holds attributes. */
const NLA_F_NESTED = 0x8000;
const NLA_TYPE_MASK = 0x3fff;

export interface Message {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly body: Buffer;
}

export function encodeMessage(type: number, flags: number, sequence: number, body: Buffer): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32LE(HEADER_BYTES + body.length, 0);
  header.writeUInt16LE(type, 4);
  header.writeUInt16LE(flags, 6);
  header.writeUInt32LE(sequence, 8);
  return Buffer.concat([header, pad(body)]);
}

/** The messages of one datagram. */
export function decodeMessages(datagram: Buffer): Message[] {
  const messages: Message[] = [];
  for (let at = 0; at + HEADER_BYTES <= datagram.length;) {
    const length = datagram.readUInt32LE(at);
    if (length < HEADER_BYTES || at + length > datagram.length) break;
    messages.push({
      type: datagram.readUInt16LE(at + 4),
      flags: datagram.readUInt16LE(at + 6),
      sequence: datagram.readUInt32LE(at + 8),
      body: datagram.subarray(at + HEADER_BYTES, at + length),
    });
    at += align(length);
  }
  return messages;
}

/** One attribute. Falsy entries in lists of attributes are left out, so that optional ones read well. */
export function attribute(type: number, value: Buffer): Buffer {
  const header = Buffer.alloc(4);
  header.writeUInt16LE(4 + value.length, 0);
  header.writeUInt16LE(type, 2);
  return Buffer.concat([header, pad(value)]);
}

export type Attributes = ReadonlyArray<Buffer | false | undefined | null | "">;

export function join(parts: Attributes): Buffer {
  return Buffer.concat(parts.filter((part): part is Buffer => Boolean(part)));
}

export function nested(type: number, children: Attributes): Buffer {
  return attribute(type | NLA_F_NESTED, join(children));
}

/** The attributes in `bytes` by type. A repeated type keeps its last value; lists are read with `attributeList`. */
export function attributes(bytes: Buffer): Map<number, Buffer> {
  return new Map(attributeList(bytes));
}

function attributeList(bytes: Buffer): [number, Buffer][] {
  const result: [number, Buffer][] = [];
  for (let at = 0; at + 4 <= bytes.length;) {
    const length = bytes.readUInt16LE(at);
    if (length < 4 || at + length > bytes.length) break;
    result.push([bytes.readUInt16LE(at + 2) & NLA_TYPE_MASK, bytes.subarray(at + 4, at + length)]);
    at += align(length);
  }
  return result;
}

export function u8(value: number): Buffer {
  return Buffer.from([value]);
}
export function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value);
  return bytes;
}
export function u16be(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}
export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return bytes;
}
export function u32be(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
}
/** A NUL-terminated text. */
export function text(value: string): Buffer {
  return Buffer.from(`${value}\0`);
}
export function readText(value: Buffer | undefined): string {
  return value ? value.toString("utf8").replace(/\0.*$/s, "") : "";
}

function align(length: number): number {
  return (length + 3) & ~3;
}

function pad(bytes: Buffer): Buffer {
  const rest = align(bytes.length) - bytes.length;
  return rest === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(rest)]);
}
