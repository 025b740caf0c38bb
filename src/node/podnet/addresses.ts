import { invalidArgument, resourceExhausted } from "../../base/index.ts";
import { addressText, parseCidr } from "../../host/index.ts";

/** The addresses of a node's Pod range: the first is the gateway's, each Pod gets the lowest free one after the last given, so that none returns at once. */
export class PodAddressPool {
  readonly cidr: string;
  readonly gateway: string;
  readonly family: 4 | 6;
  readonly #base: bigint;
  readonly #size: bigint;
  readonly #taken = new Set<bigint>();
  #next = 2n;

  constructor(cidr: string) {
    const { bytes, prefixLength, family } = parseCidr(cidr);
    const hostBits = BigInt(bytes.length * 8 - prefixLength);
    if (hostBits < 2n) throw invalidArgument(`Pod range ${cidr} is too small`);
    this.#size = 1n << hostBits;
    this.#base = (BigInt(`0x${bytes.toString("hex")}`) / this.#size) * this.#size;
    this.family = family;
    this.cidr = `${this.#text(0n)}/${prefixLength}`;
    this.gateway = this.#text(1n);
  }

  /** Throws resourceExhausted. */
  allocate(): string {
    // The last address of an IPv4 range is the broadcast address.
    const end = this.#size - (this.family === 4 ? 1n : 0n);
    for (let tried = 2n; tried < end; tried++) {
      const offset = this.#next;
      this.#next = offset + 1n >= end ? 2n : offset + 1n;
      if (this.#taken.has(offset)) continue;
      this.#taken.add(offset);
      return this.#text(offset);
    }
    throw resourceExhausted(`no free address in the node's Pod range ${this.cidr}`, {
      hint: "delete Pods, or give the node a larger Pod range",
    });
  }

  /** Takes an address that a Pod has already. False when it is not of this range. */
  claim(address: string): boolean {
    const offset = this.#offset(address);
    if (offset === undefined) return false;
    this.#taken.add(offset);
    return true;
  }

  release(address: string): void {
    const offset = this.#offset(address);
    if (offset !== undefined) this.#taken.delete(offset);
  }

  #offset(address: string): bigint | undefined {
    if (address.includes(":") !== (this.family === 6)) return undefined;
    const offset = BigInt(`0x${parseCidr(address).bytes.toString("hex")}`) - this.#base;
    return offset >= 0n && offset < this.#size ? offset : undefined;
  }

  #text(offset: bigint): string {
    return addressText(
      Buffer.from((this.#base + offset).toString(16).padStart(this.family === 4 ? 8 : 32, "0"), "hex"),
    );
  }
}
