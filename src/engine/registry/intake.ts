interface Block {
  readonly memory: Buffer;
  filled: number;
}

const LANDING_BYTES = 1 << 17;
const BLOCK_BYTES = 1 << 19;
/** So many blocks may wait for the reader before the sender has to. */
const WAITING_BLOCKS = 2;

/**
 * What a socket reads (net's `onread`) on its way to a reader that may be slower: a few blocks of memory, used again and again. Bytes land in
 * one buffer and are copied out of it at once, since a TLS socket goes on delivering what it has decrypted already after it was told to stop.
 */
export class Intake {
  readonly landing = Buffer.allocUnsafeSlow(LANDING_BYTES);
  readonly #resume: () => void;
  readonly #waiting: Block[] = [];
  readonly #spare: Block[] = [];
  #lent: Block | undefined;
  #paused = false;
  /** How it ended, told once all that came was taken. */
  #end: { readonly error: Error | undefined } | undefined;
  #wake: (() => void) | undefined;

  /** `resume`: there is room again. */
  constructor(resume: () => void) {
    this.#resume = resume;
  }

  /** `bytes` have come into `landing`. False: no more for now. */
  landed(bytes: number): boolean {
    for (let at = 0; at < bytes;) {
      const block = this.#blockWithRoom();
      const copied = this.landing.copy(block.memory, block.filled, at, bytes);
      block.filled += copied;
      at += copied;
    }
    this.#wake?.();
    this.#paused = this.#waiting.length >= WAITING_BLOCKS;
    return !this.#paused;
  }

  /** Nothing more comes; the first call counts. */
  end(error?: Error): void {
    this.#end ??= { error };
    this.#wake?.();
  }

  /** All that has come, up to a block; good until the next call. Undefined at the end. For one reader. */
  async take(): Promise<Buffer | undefined> {
    if (this.#lent) this.#spare.push(this.#lent);
    this.#lent = undefined;
    while (this.#waiting.length === 0) {
      if (this.#end?.error) throw this.#end.error;
      if (this.#end) return undefined;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
    this.#lent = this.#waiting.shift()!;
    if (this.#paused) {
      this.#paused = false;
      this.#resume();
    }
    return this.#lent.memory.subarray(0, this.#lent.filled);
  }

  #blockWithRoom(): Block {
    const last = this.#waiting.at(-1);
    if (last && last.filled < BLOCK_BYTES) return last;
    const block = this.#spare.pop() ?? { memory: Buffer.allocUnsafeSlow(BLOCK_BYTES), filled: 0 };
    block.filled = 0;
    this.#waiting.push(block);
    return block;
  }
}
