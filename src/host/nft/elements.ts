import { addressBytes } from "../netlink/index.ts";

/** Protocol numbers of the transports that have ports. */
export const PROTOCOLS = { tcp: 6, udp: 17, sctp: 132 } as const;
export type Transport = keyof typeof PROTOCOLS;
const IFNAMSIZ = 16;

export function nftAddress(address: string): Buffer {
  return addressBytes(address);
}
export function nftProtocol(protocol: Transport): Buffer {
  return Buffer.from([PROTOCOLS[protocol]]);
}
export function nftPort(port: number): Buffer {
  return Buffer.from([port >> 8, port & 0xff]);
}
/** A mark or another 32-bit number that the kernel compares in host order. */
export function nftNumber(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}
export function nftInterface(name: string): Buffer {
  const bytes = Buffer.alloc(IFNAMSIZ);
  bytes.write(name.slice(0, IFNAMSIZ - 1));
  return bytes;
}

/** A concatenation: every part fills whole 32-bit registers. Used for keys and for values such as `addr . port`. */
export function nftKey(...parts: readonly Buffer[]): Buffer {
  return Buffer.concat(parts.map((part) => Buffer.concat([part, Buffer.alloc((4 - (part.length % 4)) % 4)])));
}
