import { invalidArgument } from "../../../base/index.ts";

const DEFAULT_KEYS = "ctrl-p,ctrl-q";

/** `ctrl-p,ctrl-q` or letters, as the bytes a terminal sends. */
export function parseDetachKeys(keys = DEFAULT_KEYS): Buffer {
  return Buffer.from(
    (keys || DEFAULT_KEYS).split(",").map((key) => {
      if (key.length === 1) return key.charCodeAt(0);
      const match = /^ctrl-([a-z@[\\\]^_])$/.exec(key);
      if (!match) throw invalidArgument(`Unknown character: '${key}'`);
      return match[1] === "@" ? 0 : match[1]!.toLowerCase().charCodeAt(0) & 0x1f;
    }),
  );
}

/** Looks for the detach sequence in what is typed; keys that begin it are held back until it is broken or complete. */
export class DetachFilter {
  readonly #keys: Buffer;
  #matched = 0;

  constructor(keys: Buffer) {
    this.#keys = keys;
  }
  /** What to pass on, and whether the sequence is complete. */
  push(chunk: Buffer): { data: Buffer; detached: boolean } {
    const out: number[] = [];
    for (const byte of chunk) {
      if (byte === this.#keys[this.#matched]) {
        if (++this.#matched === this.#keys.length) return { data: Buffer.from(out), detached: true };
        continue;
      }
      out.push(...this.#keys.subarray(0, this.#matched));
      this.#matched = byte === this.#keys[0] ? 1 : 0;
      if (this.#matched === 0) out.push(byte);
    }
    return { data: Buffer.from(out), detached: false };
  }
}
