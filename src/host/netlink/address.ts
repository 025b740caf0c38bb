import { isIPv4, isIPv6 } from "node:net";
import { invalidArgument } from "../../base/index.ts";

/** An IP address as its 4 or 16 bytes, in network order. Throws invalidArgument. */
export function addressBytes(address: string): Buffer {
  if (isIPv4(address)) return Buffer.from(address.split(".").map(Number));
  if (isIPv6(address)) return ipv6Bytes(address.replace(/%.*$/, ""));
  throw invalidArgument(`${JSON.stringify(address)} is not an IP address`);
}

function ipv6Bytes(address: string): Buffer {
  // The last 32 bits may be written as an IPv4 address.
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(address);
  const hex = dotted ? Buffer.from(dotted[2]!.split(".").map(Number)).toString("hex") : "";
  const plain = dotted ? `${dotted[1]}${hex.slice(0, 4)}:${hex.slice(4)}` : address;
  const [head = "", tail] = plain.split("::");
  const left = head ? head.split(":") : [];
  const right = tail ? tail.split(":") : [];
  const zeros = tail === undefined ? [] : Array<string>(8 - left.length - right.length).fill("0");
  const bytes = Buffer.alloc(16);
  [...left, ...zeros, ...right].forEach((group, index) => bytes.writeUInt16BE(parseInt(group, 16), index * 2));
  return bytes;
}

/** The usual text form; IPv6 as RFC 5952 wants it. */
export function addressText(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join(".");
  const groups = Array.from({ length: 8 }, (_, at) => (bytes[at * 2]! << 8) | bytes[at * 2 + 1]!);
  const [start, length] = longestZeros(groups);
  const hex = (from: number, to: number) =>
    groups
      .slice(from, to)
      .map((group) => group.toString(16))
      .join(":");
  return length < 2 ? hex(0, 8) : `${hex(0, start)}::${hex(start + length, 8)}`;
}

function longestZeros(groups: number[]): [start: number, length: number] {
  let best: [number, number] = [0, 0];
  for (let at = 0; at < 8; at++) {
    let length = 0;
    while (at + length < 8 && groups[at + length] === 0) length++;
    if (length > best[1]) best = [at, length];
  }
  return best;
}

export function macBytes(mac: string): Buffer {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(mac)) throw invalidArgument(`invalid MAC address: ${mac}`);
  return Buffer.from(mac.replaceAll(":", ""), "hex");
}

export function macText(bytes: Uint8Array | undefined): string {
  return bytes?.length === 6 ? Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(":") : "";
}

/** `10.0.0.1/24` → bytes and prefix length. Throws invalidArgument. */
export function parseCidr(cidr: string): { bytes: Buffer; prefixLength: number; family: 4 | 6 } {
  const [address = "", length] = cidr.split("/");
  const bytes = addressBytes(address);
  const prefixLength = length === undefined ? bytes.length * 8 : Number(length);
  if (!Number.isInteger(prefixLength) || prefixLength < 0 || prefixLength > bytes.length * 8 || length === "") {
    throw invalidArgument(`invalid CIDR address: ${cidr}`);
  }
  return { bytes, prefixLength, family: bytes.length === 4 ? 4 : 6 };
}
